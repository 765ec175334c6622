"""How far a submitted study is: its run directories, SLURM's queue and the logs, side by side.

Nothing here changes anything, `cancel_study` apart. `arguments` are those of `study.cli.add_study`.
"""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluate.status import prepared, stages, whole_study
from slurm.logs import Ending, ending, job_of, last_record, newest_logs
from slurm.plan import study_words
from slurm.queue import Job, Queue, cancel, jobs_of, read_queue
from slurm.reasons import is_held, meaning, short
from study.expansion import Study
from study.rundir import RunDirectory

_STATES = {"PENDING": "queued", "COMPLETING": "ending", "CONFIGURING": "starting"}
_QUEUE_COLUMNS = ("job", "state", "left", "why")
# What a summary counts, in this order.
_TO_SUBMIT = ("failed", "cancelled", "stopped", "half done", "not started")
_KINDS = ("done", "running", "queued", *_TO_SUBMIT)

# Runs that ended alike and are named; the table has them all.
_NAMED = 4


@dataclass
class Line:
    """A run of the study."""

    title: str
    # Its columns.
    row: dict[str, str]
    # What a summary counts it as: one of _KINDS.
    kind: str
    # How it ended, where it is neither done nor at work nor queued, and where to read more.
    end: Ending | None
    files: list[str]


def print_status(study: Study, arguments: Any, name: str) -> None:
    """Runs x stages with what the queue has of each, and how those ended that are not done."""
    # The queue first: a job that ends meanwhile has left its run done.
    queue = read_queue(study, arguments.runs)
    logs = newest_logs(study, arguments.runs)
    dataset = prepared(name, arguments)
    rows = stages(study, arguments, dataset)
    whole = whole_study(study, arguments, name, dataset, rows)
    lines = []
    for cell, row in zip(study.cells, rows, strict=False):
        directory = study.run_directory(arguments.runs, cell)
        log = logs.get(cell.title)
        lines.append(_line(cell.title, row, directory, study.split, queue, log))
    print(_table([line.row for line in lines] + rows[len(lines) :]))
    for stage, said in whole.items():
        print(f"{stage}: {said}{_in_words(queue, stage)}")
    _print_reasons(queue)
    _print_ends(lines)
    _print_last_lines(queue, whole, logs)
    tabled = whole["tables"].endswith("done")
    command = _submission(study, arguments)
    _print_summary([line.kind for line in lines], tabled, queue, command)


def _line(
    title: str,
    row: dict[str, str],
    directory: RunDirectory,
    split: str,
    queue: Queue,
    log: Path | None,
) -> Line:
    jobs = queue.runs.get(title, [])
    # A job that runs on another node may hold no lock that is seen from here.
    unfinished = [stage for stage in ("train", "evaluate") if row[stage] != "done"]
    if unfinished and any(not job.waits for job in jobs):
        row = row | {unfinished[0]: "running"}
    end = None
    if unfinished and not jobs and "running" not in row.values():
        end = _end(directory, log, split, queue.silent is None)
    kind = _kind(row, jobs, end)
    return Line(title, row | _columns(jobs, queue, end, log), kind, end, _files(directory, log))


def _end(directory: RunDirectory, log: Path | None, split: str, queue_known: bool) -> Ending | None:
    """How a run that is neither done nor at work nor queued ended; None of one that never was.

    Of a log that SLURM has not closed, nothing is known unless the queue is.
    """
    of_log = None if log is None else ending(log)
    if (failed := directory.failed()) is not None:
        killed_later = (
            of_log is not None
            and log is not None
            and of_log.certain
            and log.stat().st_mtime > directory.failure.stat().st_mtime + 1
        )
        if not killed_later:
            return Ending("failed", f"{failed[0]}: {failed[1]}", "", certain=True)
    # What was measured once, and is to be measured anew, did not fail.
    if of_log is None or not (queue_known or of_log.certain):
        return None
    return None if directory.trained and directory.evaluated(split) else of_log


def _files(directory: RunDirectory, log: Path | None) -> list[str]:
    """Where more on how a run ended is to be read."""
    found = [] if log is None else [f"log: {log}"]
    return found + [f"traceback: {directory.failure}"] * directory.failure.is_file()


def _state(job: Job) -> str:
    """SLURM's state in a word, and the node."""
    if job.waits:
        return "held" if is_held(job.reason) else "queued"
    word = _STATES.get(job.state, job.state.replace("_", " ").lower())
    return f"{word} on {job.nodes}" if job.nodes else word


def _why(job: Job, queue: Queue) -> str:
    said = [short(job.reason)] if job.waits else []
    if times := queue.restarts.get(job.id, 0):
        said.append(f"requeued {times}x")
    return ", ".join(said)


def _left(job: Job) -> str:
    return "" if job.waits else {"UNLIMITED": "no limit"}.get(job.left, job.left)


def _columns(jobs: list[Job], queue: Queue, end: Ending | None, log: Path | None) -> dict[str, str]:
    """The columns that are not of the run directory."""
    if jobs:
        first = jobs[0]
        ids = ", ".join(job.id for job in jobs)
        cells = (ids, _state(first), _left(first), _why(first, queue))
    elif end is not None:
        cells = (job_of(log) if log else "", end.kind, "", "see below")
    else:
        cells = ("",) * 4
    return dict(zip(_QUEUE_COLUMNS, cells, strict=True))


def _kind(row: dict[str, str], jobs: list[Job], end: Ending | None) -> str:
    """What a summary counts a run as: one of _KINDS."""
    if row["evaluate"] == "done":
        return "done"
    if "running" in row.values():
        return "running"
    if jobs:
        return "queued"
    if end is not None:
        return end.kind
    return "not started" if row["train"] == "–" else "half done"


def _table(rows: list[dict[str, str]]) -> str:
    """As Markdown, without columns of which nothing is known."""
    frame = pd.DataFrame(rows).fillna("")
    empty = [key for key in _QUEUE_COLUMNS if key in frame and not frame[key].any()]
    # 12_3 is a number to Python.
    return frame.drop(columns=empty).to_markdown(index=False, disable_numparse=True)


def _in_words(queue: Queue, stage: str) -> str:
    """The jobs of a stage that belongs to the whole study."""
    said = []
    for job in queue.whole.get(stage, []):
        more = [_why(job, queue), f"{_left(job)} left" if _left(job) else ""]
        said.append(", ".join([f"job {job.id} {_state(job)}", *filter(None, more)]))
    return f" ({'; '.join(said)})" if said else ""


def _print_reasons(queue: Queue) -> None:
    """SLURM's words for why jobs wait in everybody's, each once."""
    if queue.strange:
        each = [
            f"{job.id} ({title or 'no known run'}) {_state(job)}" for job, title in queue.strange
        ]
        print(f"also in the queue, of no run that the study has now: {', '.join(each)}")
    reasons = {short(job.reason): job.reason for job in queue.every() if job.waits}
    if reasons:
        print()
    for word, reason in reasons.items():
        print(f"{word}: {meaning(reason)}")


def _print_ends(lines: list[Line]) -> None:
    """How runs ended, those together that ended alike."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.end is not None:
            alike.setdefault((line.end.kind, line.end.said), []).append(line)
    for those in alike.values():
        end = those[0].end
        assert end is not None
        titles = ", ".join([line.title for line in those[:_NAMED]])
        titles += f" and {len(those) - _NAMED} more" if len(those) > _NAMED else ""
        print(f"\n{titles} {end.kind}: {end.line or 'its log is empty'}")
        if end.advice:
            print(f"    {end.advice}")
        for file in those[0].files:
            print(f"    {file}")
        if len(those) > 1:
            print("    the others likewise")


def _print_last_lines(queue: Queue, whole: dict[str, str], logs: dict[str, Path]) -> None:
    """Of the data's and the tables' job, where it is over and left nothing behind."""
    for stage, said in whole.items():
        over = not queue.whole.get(stage) and queue.silent is None
        if stage in logs and over and not said.endswith("done"):
            print(f"\n{stage}, last line of its log: {ending(logs[stage]).line or 'it is empty'}")
            print(f"    log: {logs[stage]}")


def _print_summary(kinds: list[str], tabled: bool, queue: Queue, command: str) -> None:
    """Runs by how far they are, and how to go on; `tabled`: whether the tables are made."""
    counted = Counter(kinds)
    shown = [f"{counted[kind]} {kind}" for kind in _KINDS if counted[kind]]
    print(f"\n{len(kinds)} runs: {', '.join(shown)}")
    if queue.silent is not None:
        print(f"The queue is not shown: {queue.silent}")
    elif left := sum(counted[kind] for kind in _TO_SUBMIT):
        some = f"the {left} of them that {'is' if left == 1 else 'are'} left"
        mended = ", once the cause is mended" if counted["failed"] else ""
        print(f"To submit {'them' if left == len(kinds) else some}{mended}:\n  {command}")
    elif not (tabled or queue.whole.get("tables")):
        print(f"To submit what makes the tables:\n  {command}")


def _submission(study: Study, arguments: Any) -> str:
    """The command that submits what is left, as typed."""
    site = getattr(arguments, "cluster", None) or last_record(study, arguments.runs).get("cluster")
    site = site or "configs/clusters/SITE.json"
    words = ["python", "-m", "slurm", *study_words(arguments), "--cluster", str(site)]
    return shlex.join(words)


def cancel_study(study: Study, runs: Path) -> str:
    """End all of the study's jobs and nothing else; what that were, in a line. Silent where SLURM
    does not answer."""
    jobs = jobs_of(study, runs)
    if not jobs:
        return f"nothing of study {study.name} is queued or running"
    # An array is ended as a whole: all its elements are called so. Tables first, which would start
    # when the runs are over.
    said = []
    ids = []
    for stage in ("tables", "run", "data"):
        for array in dict.fromkeys(job.array for job in jobs if job.stage == stage):
            elements = [job for job in jobs if job.array == array]
            waiting = sum(job.waits for job in elements)
            counts = {"running": len(elements) - waiting, "queued": waiting}
            how = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
            said.append(f"array {array} ({how})" if stage == "run" else f"{stage} {array}")
            ids.append(array)
    cancel(ids)
    return f"cancelled: {', '.join(said)}"
