"""The one door: `python reproduce.py STUDY.json` prepares data, trains, evaluates, makes tables.

What is done is skipped, so the same command goes on after a stop. A run that fails is passed
over, named at the end, and makes the exit status 1.
"""

import shlex
from pathlib import Path
from typing import Any

from study.cli import Parser, add_study
from study.errors import RunFailed, StudyError, one_line, run_command
from study.stopping import stop_if_asked, stoppable

STAGES = ("data", "train", "evaluate", "tables")


def parser() -> Parser:
    """The command line of `reproduce.py`."""
    made = Parser(prog="python reproduce.py", description=__doc__.splitlines()[0])
    add_study(made)
    made.add_argument("--verify", action="store_true", help="check the data's SHA-256 first")
    made.add_argument("--only", choices=STAGES, help="this stage alone")
    made.add_argument("--status", action="store_true", help="print runs x stages and stop")
    made.add_argument(
        "--check",
        action="store_true",
        help="write no tables; exit status 1 when a verdict is worse than the committed one",
    )
    made.add_argument("--dry-run", action="store_true", help="print what would run and stop")
    return made


def shown_command(arguments: Any) -> str:
    """The command as a reader would type it: what decides the numbers, no folders of this host."""
    from study.provenance import ROOT

    study = arguments.study.resolve()
    shown = study.relative_to(ROOT) if study.is_relative_to(ROOT) else Path(study.name)
    words = ["python", "reproduce.py", shown.as_posix()]
    if arguments.budget:
        words += ["--budget", arguments.budget]
    if arguments.raw:
        words += ["--raw", "RAW_FOLDER"]
    for text in arguments.set:
        if not text.lstrip().startswith("tracking."):
            words += ["--set", text]
    return shlex.join(words)


def dataset_name(study: Any) -> str:
    """The folder below data/ that the study's data go to; every run must train on it."""
    from data_prep.options import check_options, default_name

    options = check_options(study.data.dataset, study.data.options, f"{study.file}: data.options")
    name = study.data.name or default_name(study.data.dataset, options)
    for cell in study.cells:
        if cell.run.config.dataset != name:
            raise StudyError(
                f"{study.file}: run '{cell.name}' is for data set '{cell.run.config.dataset}', "
                f"the study prepares '{name}'"
            )
    return name


def check_study(study: Any) -> str:
    """StudyError where a study asks for a table, a figure or data that cannot be; the name of its
    data set."""
    from evaluate.figures.check import check_figures
    from evaluate.tables import check_tables

    check_tables(study.config.tables, str(study.file))
    check_figures(study)
    return dataset_name(study)


def load(arguments: Any) -> tuple[Any, str]:
    """The study that is named, checked, and the name of its data set."""
    from study.expansion import load_study
    from study.overrides import parse_overrides

    study = load_study(arguments.study, arguments.budget, parse_overrides(arguments.set))
    return study, check_study(study)


def prepare_data(study: Any, arguments: Any) -> None:
    """The data set of the study, unless it is there."""
    from data_prep.prepare import prepare

    prepare(
        study.data.dataset, study.data.options, arguments.raw, arguments.data, dataset_name(study)
    )


def train_cell(study: Any, cell: Any, arguments: Any) -> None:
    """Train one run, unless it is trained."""
    from study.datasets import open_dataset
    from train.run import train_run

    dataset = open_dataset(arguments.data, cell.run.config.dataset)
    train_run(cell.run, dataset, study.run_directory(arguments.runs, cell).path)


def evaluate_cell(study: Any, cell: Any, arguments: Any) -> None:
    """Evaluate one run on the study's split, unless it is, as this version would do it."""
    from evaluate.cells import evaluate_cell
    from study.datasets import open_dataset

    dataset = open_dataset(arguments.data, cell.run.config.dataset)
    evaluate_cell(study, cell, dataset, arguments.runs, arguments.weights, arguments.require)


def evaluate_references(study: Any, arguments: Any) -> list[str]:
    """Measure the rows that models are held against; one line where that failed."""
    from evaluate.cells import evaluate_references
    from study.datasets import open_dataset
    from study.progress import say

    dataset = open_dataset(arguments.data, dataset_name(study))
    try:
        say("reference rows: PCA, the mean image, the data themselves")
        evaluate_references(study, dataset, arguments.runs, arguments.weights)
    except Exception as error:
        kind = "" if isinstance(error, StudyError) else f"{type(error).__name__}: "
        say(f"failed: reference rows: {kind}{one_line(error)}")
        stop_if_asked()
        return [f"reference rows: {kind}{one_line(error)}"]
    return []


def check_measurable(study: Any, arguments: Any, dataset: Any = None) -> None:
    """StudyError, before anything is trained, where a metric of `--require` cannot be measured;
    without a data set as far as that shows before the data are there."""
    from evaluate.available import check_required

    for cell in study.cells:
        how = cell.run.config.evaluation
        check_required(arguments.require, how, arguments.weights, dataset)


def refuse_other_runs(study: Any, dataset: Any, runs: Path) -> None:
    """StudyError, before anything is trained, where a directory holds a run of another config."""
    from train.run import run_identity

    for cell in study.cells:
        directory = study.run_directory(runs, cell)
        if directory.record.is_file():
            directory.refuse_another(run_identity(cell.run, dataset))


def run_cells(study: Any, arguments: Any, stages: list[str]) -> list[str]:
    """Train and evaluate every cell, in the study's order; one line for each that failed."""
    from study.progress import say

    work = {"train": train_cell, "evaluate": evaluate_cell}
    failures = []
    for number, cell in enumerate(study.cells, 1):
        say(f"[{number}/{len(study.cells)}] {cell.title}: {cell.label}")
        try:
            for stage in stages:
                work[stage](study, cell, arguments)
        # Whatever goes wrong with one run, the others still count; the line names it at the end.
        except Exception as error:
            study.run_directory(arguments.runs, cell).note_failure(stage, error)
            kind = "" if isinstance(error, StudyError) else f"{type(error).__name__}: "
            failures.append(f"{cell.title}: {stage}: {kind}{one_line(error)}")
            say(f"failed: {failures[-1]}")
            stop_if_asked()
    return failures


def make_tables(study: Any, arguments: Any) -> None:
    """Write `results/<study>/` and print its tables."""
    from evaluate.mirror import mirror_tables
    from evaluate.report import write_overview, write_results
    from study.datasets import open_dataset
    from study.jsonfile import read_json_object

    dataset = open_dataset(arguments.data, dataset_name(study))
    command = shown_command(arguments)
    folder = write_results(study, dataset, arguments.runs, arguments.results, command)
    for table in study.config.tables:
        print(f"\n{table.title}\n")
        print((folder / f"{table.name}.md").read_text(encoding="utf-8"))
    write_overview(arguments.results)
    print(f"Tables, pictures, definitions, budget: {folder / 'README.md'}")
    mirror_tables(study, read_json_object(folder / "runs.json"), folder, arguments.runs)


def check_verdicts(study: Any, arguments: Any) -> list[str]:
    """Print this study's verdicts, counted; one line for each that is worse than committed."""
    from evaluate.claims.formats import summary_line
    from evaluate.report import worse_than_committed
    from study.datasets import open_dataset

    dataset = open_dataset(arguments.data, dataset_name(study))
    folders = arguments.runs, arguments.results
    verdicts, worse = worse_than_committed(study, dataset, *folders, shown_command(arguments))
    print(summary_line(verdicts))
    print(f"worse than {arguments.results / study.name / 'verdicts.json'}: {len(worse)}")
    return [str(claim) for claim in worse]


def main() -> int:
    arguments = parser().parse_args()
    # After parsing, because torch and pythae take seconds to import.
    from evaluate.claims.check import read_verdicts
    from evaluate.status import print_plan, print_status
    from study.datasets import open_dataset

    study, name = load(arguments)
    if arguments.dry_run or arguments.status:
        (print_plan if arguments.dry_run else print_status)(study, arguments, name)
        return 0
    if arguments.check:
        read_verdicts(arguments.results / study.name)  # or there is nothing to check against
    stages = [arguments.only] if arguments.only else list(STAGES)
    if "evaluate" in stages:
        check_measurable(study, arguments)
    if "data" in stages:
        prepare_data(study, arguments)
    failures = []
    if work := [stage for stage in ("train", "evaluate") if stage in stages]:
        # Missing data end it here, once.
        dataset = open_dataset(arguments.data, name, arguments.verify)
        refuse_other_runs(study, dataset, arguments.runs)
        if "evaluate" in stages:
            check_measurable(study, arguments, dataset)
        failures = run_cells(study, arguments, work)
        if "evaluate" in stages:
            failures += evaluate_references(study, arguments)
    if arguments.check:
        failures += check_verdicts(study, arguments)
    elif "tables" in stages:
        try:
            make_tables(study, arguments)
        except RunFailed as error:
            failures.append(one_line(error))
    if failures:
        runs = len(study.cells)
        raise RunFailed(f"not all went well ({runs} runs in all): " + "; ".join(failures))
    return 0


if __name__ == "__main__":
    with stoppable():
        run_command("reproduce", main)
