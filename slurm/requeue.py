"""A job that was stopped goes back into the queue by itself."""

import os
import signal

from slurm.commands import ask
from study.errors import Stopped, StudyError, one_line
from study.progress import say

# SLURM's words for a job that it has ended itself, by scancel say, and whose end we merely see;
# PENDING is one that it has put back into the queue, because its node failed, say.
_ENDED = ("COMPLETING", "CANCELLED", "PREEMPTED", "REQUEUED", "NODE_FAIL", "PENDING")
SAME = "the same submission goes on from here"


def own_job() -> str | None:
    """The SLURM job that this process is of; None where it is of none.

    In an array its element: SLURM_JOB_ID of the last element is that of the whole array, which
    `scontrol requeue` would start again.
    """
    array, index = (os.environ.get(f"SLURM_ARRAY_{part}") for part in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """How often SLURM has started this job again, be it for us or for a node that failed."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


def requeue(stopped: Stopped, limit: int) -> bool:
    """Put this job, `stopped` by a signal, back into the queue; whether that was done.

    Not where somebody cancelled it, nor for the `limit`-th time. A line says which, and why. What
    goes wrong here must not cost the exit status: the checkpoint is written.
    """
    job = own_job()
    if job is None:
        return False
    try:
        if stopped.number == signal.SIGTERM and _ended_by_slurm(job):
            say(f"job {job}: ended by SLURM, so it does not requeue itself; {SAME}")
            return False
        if restarts() >= limit:
            say(f"job {job}: not requeued, restart {restarts()} was the last it may have; {SAME}")
            return False
        ask(["scontrol", "requeue", job])
    except StudyError as error:
        say(f"job {job}: not requeued ({one_line(error)}); {SAME}")
        return False
    say(f"job {job}: back in the queue for restart {restarts() + 1} of at most {limit}")
    return True


def _ended_by_slurm(job: str) -> bool:
    """Whether SIGTERM is the beginning of an end that SLURM has decided on.

    Somebody's scancel must hold; and what SLURM requeues, it requeues. A pre-emption that leaves
    time ("grace") leaves the job running, and so does nothing for it; nor does a time limit whose
    warning came to nothing.
    """
    state, _, reason = ask(["squeue", "--noheader", f"--jobs={job}", "--format=%T|%r"]).partition(
        "|"
    )
    return state.strip() in _ENDED and reason.strip() != "TimeLimit"
