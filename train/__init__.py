"""One run and its `.npz` splits -> a run directory."""
