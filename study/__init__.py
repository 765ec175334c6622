"""What every stage shares: config schema, expansion, dataset reader, run directory, errors."""
