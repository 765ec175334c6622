"""What to run, as JSON, and the JSON Schemas of it."""
