"""The SLURM job that this process is of."""

import os


def own_job() -> str | None:
    """Its id; None outside of SLURM.

    In an array the element's: SLURM_JOB_ID of the last element is that of the whole array, which
    `scontrol requeue` would start again.
    """
    array, index = (os.environ.get(f"SLURM_ARRAY_{part}") for part in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID") or None


def restarts() -> int:
    """How often SLURM has started it again, be it for us or for a node that failed."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0
