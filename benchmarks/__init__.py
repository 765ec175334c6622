"""Claims of speed and memory, each measured beside its rival in one run."""
