"""How far a study is, and what of it would run: nothing here changes anything.

`arguments` are those of `reproduce.py`, `name` the folder of the study's data.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from evaluate.cells import references_measured
from evaluate.run import up_to_date
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.expansion import Cell, Study, load_study
from study.lock import is_held
from study.overrides import flatten
from study.rundir import AnotherRun, RunDirectory
from train.run import run_identity


def prepared(name: str, arguments: Any) -> Dataset | None:
    """The data set; None where it is not prepared yet."""
    there = (arguments.data / name / "manifest.json").is_file()
    return open_dataset(arguments.data, name) if there else None


def state(study: Study, cell: Cell, arguments: Any, dataset: Dataset | None) -> dict[str, str]:
    """How far one cell is, in a word a stage; `dataset` is None where it is not prepared."""
    directory = study.run_directory(arguments.runs, cell)
    begun = directory.record.is_file()
    epochs = f"{directory.epochs()}/{cell.run.trainer.num_epochs}" if begun else "–"
    states = {"run": cell.title, "epochs": epochs, "train": "–", "evaluate": "–"}
    if dataset is not None and _another(directory, run_identity(cell.run, dataset)):
        return states | {"train": "another run"}
    if directory.trained:
        states["train"] = "done"
    elif begun:
        states["train"] = "stopped"
    known = directory.trained and dataset is not None
    if known and up_to_date(directory, study.split, dataset, arguments.weights):
        states["evaluate"] = "done"
    failed = directory.failed()
    if failed and states[failed[0]] != "done":
        states[failed[0]] = "failed"
    # Whoever holds the directory is at its first stage that is not done.
    unfinished = [stage for stage in ("train", "evaluate") if states[stage] != "done"]
    if unfinished and is_held(directory.path):
        states[unfinished[0]] = "running"
    return states


def _another(directory: RunDirectory, identity: dict[str, Any]) -> bool:
    """Whether a run of another config, or on other data, is what lies there."""
    try:
        directory.refuse_another(identity)
    except AnotherRun:
        return True
    except StudyError:  # none is there, or one that another version has written
        return False
    return False


def stages(study: Study, arguments: Any, dataset: Dataset | None) -> list[dict[str, str]]:
    """How far every run is, in the study's order, and last the reference rows."""
    rows = [state(study, cell, arguments, dataset) for cell in study.cells]
    measured = dataset and references_measured(study, dataset, arguments.runs, arguments.weights)
    return [
        *rows,
        {
            "run": "reference rows",
            "epochs": "–",
            "train": "–",
            "evaluate": "done" if measured else "–",
        },
    ]


def whole_study(
    study: Study, arguments: Any, name: str, dataset: Dataset | None, rows: list[dict[str, str]]
) -> dict[str, str]:
    """The two stages that belong to the whole study: where each lies, and how far it is. `rows`:
    of `stages`."""
    tables = arguments.results / study.name
    every = all(row["evaluate"] == "done" for row in rows)
    whole = every and _made_since(tables / "runs.json", study, arguments)
    return {
        "data": f"{arguments.data / name}: {'done' if dataset else '–'}",
        "tables": f"{tables}: {'done' if whole else '–'}",
    }


def _made_since(record: Path, study: Study, arguments: Any) -> bool:
    """Whether tables are of the runs as they are: some came with the checkout, or are older."""
    measured = [study.run_directory(arguments.runs, cell).metrics for cell in study.cells]
    newest = max(file.stat().st_mtime for file in measured)
    return record.is_file() and record.stat().st_mtime >= newest


def print_status(study: Study, arguments: Any, name: str) -> None:
    """Runs x stages, and the two stages that belong to the whole study."""
    dataset = prepared(name, arguments)
    rows = stages(study, arguments, dataset)
    print(pd.DataFrame(rows).to_markdown(index=False))
    for stage, said in whole_study(study, arguments, name, dataset, rows).items():
        print(f"{stage}: {said}")


def changes(study: Study, arguments: Any) -> dict[str, list[str]]:
    """What `--set` changes, as `key: old -> new`, and the runs in which it does."""
    found: dict[str, list[str]] = {}
    try:
        unchanged = load_study(arguments.study, arguments.budget)
    except StudyError:  # what --set changes is what makes the study a good one
        return found
    for old, new in zip(unchanged.cells, study.cells, strict=True):
        one, two = flatten(old.run.resolved()), flatten(new.run.resolved())
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                shown = [json.dumps(c[key]) if key in c else "nothing" for c in (one, two)]
                names = found.setdefault(f"{key}: {shown[0]} -> {shown[1]}", [])
                names += [new.name] if new.name not in names else []
    return found


def print_plan(study: Study, arguments: Any, name: str) -> None:
    """What would run, in order, and what of it is done."""
    print(f"study {study.name}: {len(study.cells)} runs; {study.cost}")
    data = arguments.data / name
    print(f"data: {data} ({study.data.dataset}, options {study.data.options})")
    for change, names in changes(study, arguments).items():
        print(f"--set {change}, in {', '.join(names)}")
    dataset = prepared(name, arguments)
    for cell in study.cells:
        out = study.run_directory(arguments.runs, cell).path
        steps = state(study, cell, arguments, dataset)
        print(f"{cell.title}: train {steps['train']}, evaluate {steps['evaluate']} -> {out}")
    print(f"tables: {arguments.results / study.name}")
