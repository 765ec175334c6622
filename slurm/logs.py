"""The logs and records that a study's jobs leave: whose they are, and what they end with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.names import job_folder
from study.errors import StudyError
from study.expansion import Study
from study.jsonfile import read_json_object

# Bytes of a log's end that are read, and the lines of it among which SLURM's own may stand: what
# it ends may still say a word after it.
_TAIL = 1 << 16
_LINES = 10
_LONGEST = 400
# Progress bars write over their line.
_LINE_END = re.compile(r"[\r\n]+")
_UNPRINTED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\xa0-\uffff]")
_FROM_SLURM = re.compile(r"slurmstepd\S*: error: ")
_OF_ONE_JOB = re.compile(r"^slurmstepd\S*:|JOB \d+ ON \S+|AT [0-9-]+T[0-9:]+|StepId=\S+|task \d+")
# How SLURM's lines tell an end that it does not take back (a requeue, say, is none).
_ENDS = (
    (
        r"DUE TO TIME LIMIT",
        "failed",
        "its time limit came: submitted again, it goes on from its checkpoint",
    ),
    (
        r"oom.kill|out.of.memory",
        "failed",
        "it needed more memory than it had asked for: a larger mem in the cluster file",
    ),
    (r"CANCELLED AT \S+( DUE to SIGNAL \w+)? \*\*\*", "cancelled", ""),
)
_TAKEN_BACK = re.compile("DUE TO (JOB REQUEUE|PREEMPTION|NODE FAILURE)")
# Ours, of a job that was stopped and does not requeue itself.
_STOPPED = re.compile("the same (command|submission) goes on")


@dataclass(frozen=True)
class Ending:
    """How a job ended, as far as its log tells."""

    # failed, cancelled or stopped.
    kind: str
    # The line that says so, or the last one; "" of an empty log.
    line: str
    # What may be done about it, or "".
    advice: str
    # SLURM itself says that it is over.
    certain: bool

    @property
    def said(self) -> str:
        """The line without what is of one job only, where it is SLURM's."""
        return _OF_ONE_JOB.sub("", self.line) if _FROM_SLURM.match(self.line) else self.line


def element_titles(study: Study, runs: Path, job: str) -> dict[int, str]:
    """The run that each index of the array `job` stands for; empty of a job that is no array.

    As its record says, since the study's file may have changed; without one, as the study has it
    now. StudyError where the record is none.
    """
    file = job_folder(study, runs) / f"{job}.json"
    if not file.is_file():
        return {index: cell.title for index, cell in enumerate(study.cells)}
    elements = read_json_object(file).get("elements", {})
    if not isinstance(elements, dict) or not all(
        index.isdecimal() and isinstance(title, str) for index, title in elements.items()
    ):
        raise StudyError(f'{file}: elements: runs by their index are wanted, {{"0": "ae/seed-0"}}')
    return {int(index): title for index, title in elements.items()}


def last_record(study: Study, runs: Path) -> dict[str, Any]:
    """What is known of the job of the study that was submitted last; nothing of none."""
    records = [file for file in job_folder(study, runs).glob("*.json") if file.stem.isdecimal()]
    return read_json_object(max(records, key=lambda file: int(file.stem))) if records else {}


def last_variables(study: Study, runs: Path) -> dict[str, str]:
    """What the cluster file set in the environment of the jobs that were submitted last."""
    found = last_record(study, runs).get("environment", {})
    return {name: value for name, value in found.items() if not name.startswith("VAE_STUDY_")}


def newest_logs(study: Study, runs: Path) -> dict[str, Path]:
    """The log last written for each run, by its title, and for the stages `data` and `tables`."""
    known: dict[str, dict[int, str]] = {}
    found: dict[str, tuple[int, Path]] = {}
    for file in job_folder(study, runs).glob("*.log"):
        match = re.fullmatch(r"(data|tables)-\d+|run-(\d+)_(\d+)", file.stem)
        if not match:
            continue
        title: str | None = match[1]
        if title is None:
            if match[2] not in known:
                known[match[2]] = element_titles(study, runs, match[2])
            title = known[match[2]].get(int(match[3]))
        written = file.stat().st_mtime_ns
        if title is not None and written >= found.get(title, (0, file))[0]:
            found[title] = written, file
    return {title: file for title, (_, file) in found.items()}


def job_of(log: Path) -> str:
    """The job or the element of an array that wrote a log: `1234`, `1234_7`."""
    return log.stem.partition("-")[2]


def last_lines(log: Path) -> list[str]:
    """The last lines of a log that are not empty, oldest first, without a terminal's codes."""
    return list(_tail(log))[-_LINES:]


def _tail(log: Path) -> Iterator[str]:
    with open(log, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        text = file.read().decode(errors="replace")
    for line in _LINE_END.split(text):
        shown = " ".join(_UNPRINTED.sub(" ", line).split())
        if shown:
            yield shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def ending(log: Path) -> Ending:
    """How the job of a log ended, for one that is not in the queue any more."""
    lines = last_lines(log)
    for line in reversed(lines):
        for pattern, kind, advice in _ENDS:
            if _FROM_SLURM.match(line) and re.search(pattern, line, re.IGNORECASE):
                return Ending(kind, line, advice, certain=True)
    last = lines[-1] if lines else ""
    if _FROM_SLURM.match(last) and _TAKEN_BACK.search(last):
        return Ending("stopped", last, "and then it was taken out of the queue", certain=False)
    if not _STOPPED.search(last):
        return Ending("failed", last, "", certain=False)
    # The line before it says why the job did not go back into the queue.
    why = [line for line in lines if line.startswith("job ") and _STOPPED.search(line)]
    return Ending("stopped", why[-1] if why else last, "", certain=False)
