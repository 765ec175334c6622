"""Submitting a study: its data, one array of its runs, its tables."""

import fnmatch
import re
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.status import prepared, stages, whole_study
from slurm.commands import Silent, ask
from slurm.names import check_log_folder, job_folder
from slurm.plan import Command, command, digest, variables
from slurm.queue import Job, jobs_of, titles_of
from slurm.raw import check_raw
from study.clusters import ClusterConfig
from study.errors import RunFailed, StudyError, one_line
from study.expansion import Cell, Study
from study.files import write_json
from study.lock import locked
from study.progress import say
from study.provenance import ROOT, now
from study.pythae_json import suggest
from study.stopping import deferred

STAGES_ALONE = ("data", "tables")


@dataclass(frozen=True)
class Submission:
    """What is to be submitted; the calls, in order, and what each waits for."""

    data: Command | None
    run: Command | None
    tables: Command | None
    # Jobs of an earlier submission, by stage; elements of it that are just ending.
    alive: dict[str, list[str]]
    ending: list[str]
    done: int
    busy: int

    def commands(self) -> list[Command]:
        return [one for one in (self.data, self.run, self.tables) if one is not None]

    def after(self, stage: str, new: dict[str, str]) -> dict[str, list[str]]:
        """What a stage waits for; `new`: the jobs of this submission by stage."""

        def every(of: str) -> list[str]:
            return self.alive.get(of, []) + ([new[of]] if of in new else [])

        if stage == "run":
            return {"afterok": every("data"), "afterany": self.ending}
        if stage == "tables":
            # One that writes them already is waited for, not overtaken. Runs wait for the data.
            return {"afterany": (every("run") or every("data")) + self.alive.get("tables", [])}
        return {}


def chosen(study: Study, only: Sequence[str] | None) -> list[Cell]:
    """The cells that `--only` names, all without it; StudyError where a word names none."""
    if only is None:
        return list(study.cells)
    found = []
    for word in only:
        hits = [cell for cell in study.cells if _names(word, cell)]
        if not hits and word not in STAGES_ALONE:
            known = [*study.rows(), *STAGES_ALONE]
            raise StudyError(
                f"--only {word}: no run of {study.name}{suggest(word, known)}; there are: "
                f"{', '.join(known)}, and of each run: /seed-N"
            )
        found += hits
    return [cell for cell in study.cells if cell in found]


def _names(word: str, cell: Cell) -> bool:
    return any(fnmatch.fnmatchcase(name, word) for name in (cell.title, cell.name, cell.entry))


def plan(
    study: Study, arguments: Any, site: ClusterConfig, name: str, queue: Sequence[Job]
) -> Submission:
    """What of the study is to be submitted; `name` is its data set's, `queue` its jobs.

    StudyError where a job would have to download its data.
    """
    only = arguments.only or []
    dataset = prepared(name, arguments)
    rows = stages(study, arguments, dataset)
    alive = {stage: _ids(queue, stage) for stage in ("data", "run", "tables")}
    runs = [job for job in queue if job.stage == "run"]
    # One that is ending has left its run done, or leaves it to be done.
    ending = [job for job in runs if job.state == "COMPLETING"]
    titles = titles_of(study, arguments.runs, runs)
    at_work = {titles[job.id] for job in runs if job not in ending}
    cells = chosen(study, arguments.only)
    done = [
        cell
        for cell, row in zip(study.cells, rows, strict=False)
        if cell in cells and row["evaluate"] == "done"
    ]
    left = [cell for cell in cells if cell not in done and cell.title not in at_work]

    def call(stage: str, indices: Sequence[int] = ()) -> Command:
        return command(study, arguments, site, stage, indices)

    data = dataset is None and not alive["data"] and (left or "data" in only)
    if data:
        check_raw(study, arguments)
    made = whole_study(study, arguments, name, dataset, rows)["tables"].endswith("done")
    # Tables that wait for all that is at work need no second job.
    idle = not left and (alive["tables"] or made)
    tables = "tables" in only or left or (arguments.only is None and not idle)
    return Submission(
        data=call("data") if data else None,
        run=call("run", [study.cells.index(cell) for cell in left]) if left else None,
        tables=call("tables") if tables else None,
        alive=alive,
        ending=[job.id for job in ending],
        done=len(done),
        busy=len(cells) - len(done) - len(left),
    )


def _ids(queue: Sequence[Job], stage: str) -> list[str]:
    return list(dict.fromkeys(job.array for job in queue if job.stage == stage))


def check(study: Study, arguments: Any, name: str) -> None:
    """StudyError for what can be known to go wrong before anything is submitted: a metric of
    `--require`, run directories that hold other runs, a folder that takes no logs."""
    from reproduce import check_measurable, refuse_other_runs

    check_log_folder(study, arguments.runs)
    dataset = prepared(name, arguments)
    check_measurable(study, arguments, dataset)
    if dataset is not None:
        refuse_other_runs(study, dataset, arguments.runs)


def dry_run(study: Study, arguments: Any, site: ClusterConfig, name: str) -> str:
    """The commands that `submit` would run, as a script for a shell at the root."""
    try:
        queue = jobs_of(study, arguments.runs)
    except Silent as silent:
        say(f"nothing is known of the queue: {silent}")
        queue = []
    what = plan(study, arguments, site, name, queue)
    words = [f"{name}={shlex.quote(value)}" for name, value in variables(site).items()]
    folder = shlex.quote(str(job_folder(study, arguments.runs)))
    lines = [f"export {' '.join(words)}", f"mkdir -p {folder}"]
    ids: dict[str, str] = {}
    for one in what.commands():
        lines.append(f"{one.stage}=$({one.shell(what.after(one.stage, ids))})")
        ids[one.stage] = f"${one.stage}"
    return "\n".join(lines if what.commands() else [_nothing(study, what)])


def submit(study: Study, arguments: Any, site: ClusterConfig, name: str) -> list[str]:
    """Submit what is to be, one submission of a study at a time; a line for each job.

    Busy where another is under way; Silent where SLURM does not answer; StudyError where it
    refuses, with what had been submitted by then.
    """
    _check_environment(site, arguments)
    folder = job_folder(study, arguments.runs)
    with locked(folder):
        what = plan(study, arguments, site, name, jobs_of(study, arguments.runs))
        if not what.commands():
            return [_nothing(study, what)]
        # sbatch fails a job, without a word, whose log has no folder.
        folder.mkdir(parents=True, exist_ok=True)
        # A Ctrl-C or a lost connection in between would leave an array whose tables nobody makes.
        with deferred(), _hung_up():
            return _submit_all(study, folder, what, arguments.cluster)


def _submit_all(study: Study, folder: Path, what: Submission, site: Path) -> list[str]:
    jobs: dict[str, str] = {}
    lines: list[str] = []
    for one in what.commands():
        words = one.words(what.after(one.stage, jobs))
        try:
            jobs[one.stage] = _sbatch(words, one.environment)
        except StudyError as error:
            so_far = f"; submitted before that: {', '.join(lines)}" if lines else ""
            raise type(error)(
                f"the {one.stage} job, as {site} has it (stages.{one.stage}, sbatch): "
                f"{one_line(error)}{so_far}"
            ) from None
        _record(study, folder, one, jobs[one.stage], words, site)
        lines.append(_said(study, one, jobs[one.stage], what))
    return lines


def _sbatch(words: list[str], environment: dict[str, str]) -> str:
    """The job that sbatch has made."""
    try:
        said = ask(words, environment, cwd=ROOT)
    except Silent as silent:
        raise RunFailed(f"{silent}; it may have been submitted: --status tells") from None
    except RunFailed as error:
        hint = ""
        if "array specification" in str(error):
            hint = "; indices may go up to MaxArraySize - 1: 'scontrol show config' has it"
        # What sbatch refuses is what was asked for.
        raise StudyError(f"{error}{hint}") from None
    # A cluster's name may follow.
    job = re.match(r"\d+", said.strip())
    if job is None:
        raise RunFailed(f"sbatch gave no job's number but: {one_line(RuntimeError(said))}")
    return job[0]


@contextmanager
def _hung_up() -> Iterator[None]:
    """The end of a terminal does nothing within the block."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _said(study: Study, one: Command, job: str, what: Submission) -> str:
    if one.stage != "run":
        return f"job {job}: {one.stage}"
    left_out = [f"{what.done} done"] * bool(what.done) + [f"{what.busy} queued"] * bool(what.busy)
    rest = f" (left out: {', '.join(left_out)})" if left_out else ""
    return f"job {job}: {len(one.indices)} of {len(study.cells)} runs{rest}"


def _nothing(study: Study, what: Submission) -> str:
    jobs = ", ".join(job for ids in what.alive.values() for job in ids)
    where = f" (jobs {jobs}; --status follows them)" if jobs else ""
    return (
        f"{study.name}: nothing to submit: of the runs asked for {what.done} are done, {what.busy} "
        f"queued or running{where}"
    )


def _record(
    study: Study, folder: Path, one: Command, job: str, words: list[str], site: Path
) -> None:
    """`<job>.json`: what an index of the array stood for, and what was typed."""
    elements = {str(index): study.cells[index].title for index in one.indices}
    write_json(
        folder / f"{job}.json",
        {"job": job, "stage": one.stage, "study": study.name, "digest": digest(study)}
        | ({"elements": elements} if one.stage == "run" else {})
        | {"submitted": now(), "cluster": str(site)}
        | {"environment": one.environment, "command": words},
    )


def _check_environment(site: ClusterConfig, arguments: Any) -> None:
    """StudyError where a virtual environment is named that is not there: no job would start."""
    venv = site.environment.venv
    if venv is not None and not (ROOT / venv / "bin" / "python").is_file():
        raise StudyError(
            f"{arguments.cluster}: environment.venv: {ROOT / venv} is no virtual environment; "
            f"'make setup' makes .venv"
        )
