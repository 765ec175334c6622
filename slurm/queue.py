"""A study's jobs that wait or run, as `squeue` lists them, and ending them."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slurm.commands import Silent, ask
from slurm.logs import element_titles
from slurm.names import STAGES, job_name
from study.errors import RunFailed, one_line
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
    listed = _list(names, f"--format={_FORMAT}")
    return [_job(line, names) for line in listed.splitlines() if "|" in line]


def restarts_of(study: Study, runs: Path) -> dict[str, int]:
    """How often each of them has been put back into the queue, by its id."""
    names = [job_name(study, runs, stage) for stage in STAGES]
    # --format has no letter for it.
    listed = _list(names, "--Format=JobArrayID:40,RestartCnt:12")
    counted = (line.split() for line in listed.splitlines() if line.strip())
    return {job: int(count) for job, count in counted}


@dataclass
class Queue:
    """The study's jobs, by what they do."""

    # By the run's title.
    runs: dict[str, list[Job]] = field(default_factory=dict)
    # By `data` and `tables`.
    whole: dict[str, list[Job]] = field(default_factory=dict)
    # Elements that stand for no run of the study as it is now, and what they stood for.
    strange: list[tuple[Job, str | None]] = field(default_factory=list)
    # How often each has been put back, by its id.
    restarts: dict[str, int] = field(default_factory=dict)
    # Why nothing is known of it; None where SLURM answered.
    silent: str | None = None

    def every(self) -> list[Job]:
        """Those that are shown."""
        return [job for jobs in [*self.runs.values(), *self.whole.values()] for job in jobs]


def read_queue(study: Study, runs: Path) -> Queue:
    """What SLURM has of the study; `silent` says why where it does not tell. StudyError where a
    record of its jobs is none."""
    found = Queue()
    try:
        jobs = jobs_of(study, runs)
        with suppress(RunFailed):  # an old squeue does not know
            found.restarts = restarts_of(study, runs) if jobs else {}
    except (Silent, RunFailed) as error:
        return Queue(silent=one_line(error))
    known = {cell.title for cell in study.cells}
    titles = titles_of(study, runs, jobs)
    # One that runs stands before one that waits.
    for job in sorted(jobs, key=lambda job: job.waits):
        if job.stage != "run":
            found.whole.setdefault(job.stage, []).append(job)
            continue
        title = titles[job.id]
        if title in known:
            found.runs.setdefault(title, []).append(job)
        else:
            found.strange.append((job, title))
    return found


def titles_of(study: Study, runs: Path, jobs: Iterable[Job]) -> dict[str, str | None]:
    """The run that each element of an array stands for, by the element's id; None of one that
    stands for none. StudyError where a record of the study's jobs is none."""
    elements = [job for job in jobs if job.stage == "run"]
    arrays = {job.array for job in elements}
    titles = {array: element_titles(study, runs, array) for array in arrays}
    return {
        job.id: None if job.index is None else titles[job.array].get(job.index) for job in elements
    }


def _list(names: Iterable[str], form: str) -> str:
    words = ["squeue", "--noheader", "--array", f"--user={os.getuid()}"]
    return ask([*words, f"--name={','.join(names)}", form])


def _job(line: str, names: dict[str, str]) -> Job:
    number, array, index, name, state, left, nodes, reason = line.split("|", 7)
    place = int(index) if index.isdecimal() else None
    return Job(number, array, place, names[name], state, left, nodes, reason)


def cancel(jobs: Iterable[str]) -> None:
    """End jobs, elements of an array or whole arrays, by their ids; one that is over is none."""
    if chosen := list(dict.fromkeys(jobs)):
        ask(["scancel", "--quiet", *chosen])
