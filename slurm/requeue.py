"""A job that was stopped goes back into the queue by itself."""

import re

from slurm.commands import ask
from study.errors import StudyError, one_line
from study.job import own_job, restarts
from study.progress import say

# SLURM's words for a job that it has ended itself, by scancel say, and whose end we merely see;
# PENDING is one that it has put back into the queue, because its node failed, say.
_ENDED = ("COMPLETING", "CANCELLED", "PREEMPTED", "REQUEUED", "NODE_FAIL", "PENDING")
SAME = "the same submission goes on from here"


def requeue(limit: int) -> None:
    """Put this job, which a signal has stopped, back into the queue; nothing outside of SLURM.

    Not where somebody cancelled it, nor after its `limit`-th restart. A line says which, and why.
    What goes wrong here must not cost the exit status: the checkpoint is written.
    """
    job = own_job()
    if job is None:
        return
    try:
        if _given_up(job):
            say(f"job {job}: ended by SLURM, so it does not requeue itself; {SAME}")
            return
        if restarts() >= limit:
            say(f"job {job}: not requeued, restart {restarts()} was the last it may have; {SAME}")
            return
        ask(["scontrol", "requeue", job])
    except StudyError as error:
        say(f"job {job}: not requeued ({one_line(error)}); {SAME}")
        return
    say(f"job {job}: back in the queue for restart {restarts() + 1} of at most {limit}")


def _given_up(job: str) -> bool:
    """Whether SLURM has ended this job for good, or puts it back into the queue itself.

    Asked whatever the signal was: a scancel may come while the checkpoint of a warning is written,
    and `scontrol requeue` would undo it. A job that ran into its time limit, or was pre-empted
    where that means an end (PreemptMode=CANCEL), looks the same but for what is asked here.
    """
    told = ask(["scontrol", "show", "job", "--oneliner", job])
    found = dict(re.findall(r"(?<!\S)(JobState|Reason|PreemptTime)=(\S+)", told))
    if found.get("JobState") not in _ENDED:
        return False
    preempted = found.get("PreemptTime", "None") not in ("None", "N/A", "Unknown")
    return not preempted and found.get("Reason") != "TimeLimit"
