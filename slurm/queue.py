"""A study's jobs that wait or run, as `squeue` lists them, and ending them."""

import getpass
from dataclasses import dataclass
from pathlib import Path

from slurm.commands import ask
from slurm.names import STAGES, job_name
from study.expansion import Study

# %i: job or array element; %F: the array's own; %K: index; %j: name; %T: state; %L: time left;
# %N: nodes; %r: why it waits.
_FORMAT = "%i|%F|%K|%j|%T|%L|%N|%r"


@dataclass(frozen=True)
class Job:
    """One job, or one element of an array."""

    # What scancel takes: 1234, or 1234_7 of an array.
    id: str
    # The array that it is of; its own where it is of none.
    array: str
    # Its place in the array, which is that of its run in the study.
    index: int | None
    # data, run or tables.
    stage: str
    # SLURM's word: PENDING, RUNNING, COMPLETING, REQUEUED, ...
    state: str
    # Until the time limit, days-hours:minutes:seconds.
    left: str
    nodes: str
    # Why it waits, or None.
    reason: str

    @property
    def waits(self) -> bool:
        return self.state == "PENDING"


def jobs_of(study: Study, runs: Path) -> list[Job]:
    """The study's jobs of this user that are not over. Silent where squeue does not answer."""
    names = {job_name(study, runs, stage): stage for stage in STAGES}
    listed = ask(
        [
            *("squeue", "--noheader", "--array", f"--user={getpass.getuser()}"),
            *(f"--name={','.join(names)}", f"--format={_FORMAT}"),
        ]
    )
    return [_job(line, names) for line in listed.splitlines() if line.strip()]


def _job(line: str, names: dict[str, str]) -> Job:
    number, array, index, name, state, left, nodes, reason = line.split("|", 7)
    place = int(index) if index.isdecimal() else None
    return Job(number, array, place, names[name], state, left, nodes, reason)


def cancel(jobs: list[Job]) -> None:
    """End these jobs and no others: an array as a whole where all that is left of it is meant."""
    if jobs:
        ask(["scancel", *dict.fromkeys(job.id for job in jobs)])
