"""Studies on a SLURM cluster: submitted, followed, and what a job does."""
