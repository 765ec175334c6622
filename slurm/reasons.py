"""Why a job waits: SLURM's words for it in everybody's."""

import re

_RELEASE = "'scontrol release JOB' lets it go"
_NEVER = "it never starts: --cancel, change the cluster file, submit again"
# The first that the beginning of SLURM's word matches holds.
_MEANINGS = (
    (r"None$", "SLURM has not looked at it yet"),
    (r"Resources", "the GPUs, cores or memory that it asks for are in use"),
    (r"Priority", "others are before it in the queue"),
    (r"DependencyNeverSatisfied", "a job that it needs failed; submit the study again"),
    (r"Dependency", "it waits for other jobs of this study: runs for the data, tables for all"),
    (
        r"JobArrayTaskLimit",
        "as many runs of the study as may be at once (max_parallel) are running",
    ),
    (r"BeginTime", "it may start at a set time only, after a requeue in about two minutes"),
    (r"Cleaning", "what its last start left is being cleared away"),
    (r"JobHeldUser", f"you hold it: {_RELEASE}"),
    (r"JobHeldAdmin", "the cluster's administrators hold it: ask them"),
    (r"launch failed", f"a node could not start it, so SLURM holds it: {_RELEASE}"),
    (r"job requeued in held|JobHoldMaxRequeue", f"it was requeued and is held: {_RELEASE}"),
    (
        r"ReqNodeNotAvail|Nodes required|NodeDown|Reservation",
        "nodes that it could use are down or reserved, for a maintenance perhaps: one with a "
        "shorter time limit may fit in before",
    ),
    (r"Partition(Down|Inactive)", "the partition is closed for now"),
    (r"PartitionTimeLimit", f"it asks for more time than the partition allows: {_NEVER}"),
    (r"Partition", f"it asks for more than the partition has: {_NEVER}"),
    (r"BadConstraints", f"no node is such as it asks for (gres, constraint): {_NEVER}"),
    (
        r"Invalid(Account|QOS)|QOSNotAllowed|AccountNotAllowed",
        f"its account or QOS may not be used (sbatch.account, sbatch.qos): {_NEVER}",
    ),
    (r"(Assoc|QOS)\w*PerJob|(Assoc|QOS)MaxWall", f"it asks for more than a job may have: {_NEVER}"),
    (r"QOSMin", f"it asks for less than its QOS wants: {_NEVER}"),
    (r"QOSTimeLimit|AssociationTimeLimit", f"it asks for more time than it may have: {_NEVER}"),
    (r"(Assoc|QOS)\w*Minutes", "your group has used up its share of compute time"),
    (r"(Assoc|QOS)Grp\w*Job", "as many jobs of your group as may be at once are running"),
    (r"(Assoc|QOS)Grp", "your group's running jobs have all that it may use at once"),
    (
        r"QOSMaxJobs|AssocMaxJobs|QOSJobLimit|\w*SubmitJob",
        "as many jobs of yours as may run at once do",
    ),
    (r"QOSMax|AssocMax", "your running jobs have all that one user may have at once"),
    (r"Licenses", "licences that it asks for are in use"),
)
_HELD = re.compile(r"JobHeld|JobHoldMaxRequeue|launch failed|job requeued in held")
_LONGEST = 32


def _plain(reason: str) -> str:
    """Some versions of SLURM write `launch_failed_requeued_held`."""
    return " ".join(reason.replace("_", " ").split())


def is_held(reason: str) -> bool:
    """Whether it waits for somebody to let it go."""
    return bool(_HELD.match(_plain(reason)))


def short(reason: str) -> str:
    """SLURM's word for a column: without what it lists after it."""
    word = re.split(r"[,(]", _plain(reason))[0].strip()
    return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"


def meaning(reason: str) -> str:
    """What SLURM's word means, and what may be done about it."""
    for pattern, words in _MEANINGS:
        if re.match(pattern, _plain(reason)):
            return words
    return "'man squeue', JOB REASON CODES, says what it means"
