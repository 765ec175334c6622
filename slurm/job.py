"""What a job does: `python -m slurm.job run|data|tables ...`, called by the .sbatch files.

`run` takes a run file, or a study of which it does the run that the array's index counts.
"""

import dataclasses
import os
import platform
import sys
from pathlib import Path
from typing import Any

from slurm.requeue import requeue
from study.cli import Parser, add_measuring, add_run, add_study
from study.errors import RunFailed, Stopped, StudyError, one_line, run_command
from study.job import own_job, restarts
from study.stopping import stoppable

# How often a job goes back into the queue where no cluster file has a word on it.
REQUEUES = 20
INDEX = "SLURM_ARRAY_TASK_ID"


def of_a_study(stage: str) -> Parser:
    """The command line of a job of a study."""
    made = Parser(prog=f"python -m slurm.job {stage}", description=__doc__.splitlines()[0])
    add_study(made)
    made.add_argument("--max-requeues", type=int, default=REQUEUES, metavar="N")
    if stage == "run":
        made.add_argument(
            "--index", type=int, help=f"which run, in the study's order; default: ${INDEX}"
        )
        made.add_argument("--digest", help="of the runs as they were when this was submitted")
    return made


def of_a_run() -> Parser:
    """The command line of a job that is given a run file."""
    made = Parser(prog="python -m slurm.job run", description="Train a run, and evaluate it.")
    add_run(made)
    made.add_argument("--max-requeues", type=int, default=REQUEUES, metavar="N")
    add_measuring(made)
    return made


def main() -> int:
    word, *rest = sys.argv[1:] or [""]
    if word not in WORK:
        raise StudyError(f"one of {', '.join(WORK)} is wanted, not '{word}'")
    made = of_a_run() if word == "run" and not _is_study(rest) else of_a_study(word)
    arguments = made.parse_args(rest)
    if (job := own_job()) is not None:
        again = f", restart {restarts()}" if restarts() else ""
        print(f"job {job} on {platform.node()}{again}", file=sys.stderr, flush=True)
    try:
        WORK[word](arguments)
    except Stopped:
        # Preparing data begins anew each time: it would only run into its time limit again.
        if word != "data":
            requeue(arguments.max_requeues)
        raise
    return 0


def _is_study(words: list[str]) -> bool:
    """Whether the config that is named among them is a study's."""
    from study.jsonfile import read_json_object

    files = [Path(word) for word in words if word.endswith(".json") and Path(word).is_file()]
    return any("runs" in read_json_object(file) for file in files)


def do_data(arguments: Any) -> None:
    """Prepare the study's data set, unless it is there."""
    from reproduce import load, prepare_data
    from slurm.raw import check_raw
    from study.datasets import MANIFEST

    study, name = load(arguments)
    if not (arguments.data / name / MANIFEST).is_file():
        check_raw(study, arguments)
    prepare_data(study, arguments)


def do_run(arguments: Any) -> None:
    """Train and evaluate one run, as far as it is not; RunFailed where that fails."""
    if not hasattr(arguments, "study"):
        do_single_run(arguments)
        return
    from reproduce import check_measurable, load, run_cells
    from study.datasets import open_dataset

    study, name = load(arguments)
    one = dataclasses.replace(study, cells=(_cell(study, arguments),))
    dataset = open_dataset(arguments.data, name)
    check_measurable(one, arguments, dataset)
    failures = run_cells(one, arguments, ["train", "evaluate"])
    if failures:
        raise RunFailed(failures[0])


def _cell(study: Any, arguments: Any) -> Any:
    """The run that the index means; StudyError where it means none, or may mean another by now."""
    from slurm.plan import digest

    text = os.environ.get(INDEX, "") if arguments.index is None else str(arguments.index)
    last = len(study.cells) - 1
    if not text.isdecimal() or int(text) > last:
        raise StudyError(
            f"{study.file}: which of its runs? {INDEX} is '{text}', 0 to {last} is wanted: "
            f"'sbatch --array=0-{last} ...', or 'python -m slurm', which submits all of it"
        )
    if arguments.digest not in (None, digest(study)):
        raise StudyError(
            f"{study.file}: its runs are not those that were submitted: it has been changed since; "
            f"submit it again"
        )
    return study.cells[int(text)]


def do_single_run(arguments: Any) -> None:
    """Train and evaluate a run that is of no study."""
    from evaluate.available import check_required
    from evaluate.run import evaluate_run
    from study.datasets import open_dataset
    from study.overrides import parse_overrides
    from study.progress import say
    from study.runs import load_run
    from train.__main__ import default_directory
    from train.run import train_run

    run = load_run(arguments.run, parse_overrides(arguments.set), arguments.seed)
    dataset = open_dataset(arguments.data, run.config.dataset)
    check_required(arguments.require, run.config.evaluation, arguments.weights, dataset)
    out = arguments.out or default_directory(arguments.run, run.config.dataset, run.seed)
    train_run(run, dataset, out)
    evaluate_run(out, arguments.data, weights=arguments.weights, required=arguments.require)
    say(f"{out}: trained and evaluated")


def do_tables(arguments: Any) -> None:
    """Reference rows, tables, verdicts; RunFailed naming the runs that are missing."""
    from reproduce import evaluate_references, load, make_tables
    from study.datasets import open_dataset

    study, name = load(arguments)
    dataset = open_dataset(arguments.data, name)
    lacking = missing(study, arguments, dataset)
    wrong = []
    if len(lacking) < len(study.cells):
        wrong += evaluate_references(study, arguments)
        try:
            make_tables(study, arguments)
        except RunFailed as error:
            wrong.append(one_line(error))
    if lacking:
        wrong.append(f"missing: {'; '.join(lacking)}")
    if wrong:
        raise RunFailed(f"{study.name}: {len(study.cells)} runs in all; {'; '.join(wrong)}")


def missing(study: Any, arguments: Any, dataset: Any) -> list[str]:
    """The runs that are not measured, each with what is known of why."""
    from evaluate.status import state
    from slurm.logs import ending, newest_logs

    logs = newest_logs(study, arguments.runs)
    found = []
    for cell in study.cells:
        states = state(study, cell, arguments, dataset)
        if states["evaluate"] == "done":
            continue
        directory = study.run_directory(arguments.runs, cell)
        failed = directory.failed()
        why = failed and f"{failed[0]} failed: {failed[1]}"
        if why is None and cell.title in logs:
            # What SLURM has killed could not say why itself.
            why = f"{logs[cell.title]} ends with: {ending(logs[cell.title]).line}"
        far = "not finished" if directory.record.is_file() else "never started"
        found.append(f"{cell.title} ({why or far})")
    return found


WORK = {"run": do_run, "data": do_data, "tables": do_tables}


if __name__ == "__main__":
    with stoppable():
        run_command("slurm", main)
