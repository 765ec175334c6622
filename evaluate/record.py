"""`results/<study>/runs.json`: what every run of a study gave, gathered from run directories.

Tables and verdicts are made from this file alone, so that the committed ones can be made again
without the runs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.cells import reference_measured, reference_rows
from evaluate.comparisons import compare
from evaluate.statistics import bootstrap_interval
from evaluate.training_terms import training_metrics
from study.datasets import Dataset
from study.errors import StudyError
from study.expansion import Cell, Study
from study.jsonfile import read_json_object
from study.npz import member_names, open_array
from study.rundir import Measured, RunDirectory
from study.schema import StudyTable, validate
from train.run import run_identity

FORMAT = 2
# What of a split's entry in metrics.json a cell takes over.
_KEPT = ("images", "reconstruction", "metrics", "mean_image_mse", "missing", "generations")
# What a metric of a run has of its own; all else is said of it once, at the top of the file.
_OWN = ("mean", "sd", "interval")


def gather(study: Study, dataset: Dataset, runs: Path, command: str) -> dict[str, Any]:
    """The study's record; a run that is missing or not evaluated has `metrics: null`.

    A run directory that holds another run than the study's (another config, other data) counts as
    missing: a table never shows numbers under a command that did not make them. Each metric of a
    run has the `interval` of its mean over images (95 %, bootstrap; None where it is one number of
    the split). `references` are the reference rows that were measured, `comparisons` which rows
    can be told from the best, `budgets` the other ways through the study. `figures`, which are
    drawn of it, `evaluate.report` adds.
    """
    rows = []
    for name, cells in study.rows().items():
        gathered = [
            _gather_cell(cell, dataset, study.run_directory(runs, cell), study.split)
            for cell in cells
        ]
        rows.append({"name": name, "label": cells[0].label, "cells": gathered})
    record = {
        "format": FORMAT,
        "study": study.name,
        "title": study.config.title,
        "source": study.config.source,
        "budget": study.budget,
        "cost": study.cost,
        "command": command,
        "budgets": _other_budgets(study),
        "split": study.split,
        "tables": [table.model_dump() for table in study.config.tables],
        "rows": rows,
        "references": _references(study, dataset, runs),
    }
    per_image = {
        (cell.name, cell.seed): study.run_directory(runs, cell).per_image
        for cells in study.rows().values()
        for cell in cells
    }
    return record | {"comparisons": compare(record, per_image)}


def _other_budgets(study: Study) -> list[dict[str, str | None]]:
    """The other ways through the study, its own first (`name` None), with what each costs."""
    ways = {None: study.config.cost} | {k: v.cost for k, v in study.config.budgets.items()}
    return [{"name": name, "cost": cost} for name, cost in ways.items() if name != study.budget]


def _gather_cell(
    cell: Cell, dataset: Dataset, directory: RunDirectory, split: str
) -> dict[str, Any]:
    gathered: dict[str, Any] = {"seed": cell.seed, "metrics": None}
    if not directory.holds(run_identity(cell.run, dataset)):
        return gathered
    record = directory.read()
    for key in ("config", "data", "parameters", "code", "versions"):
        gathered[key] = record[key]
    # Where somebody's curves are mirrored is nobody else's business, and changes no number.
    gathered["config"].pop("tracking", None)
    # Numbers depend on the kind of machine, not on which one: records are published.
    kind = ("processor", "cores", "threads", "gpu")
    gathered["machine"] = {key: record["machine"][key] for key in kind}
    if directory.finished.is_file():
        gathered["training_seconds"] = read_json_object(directory.finished)["seconds"]
    if directory.trained and directory.evaluated(split):
        gathered |= _measured(directory, split)
        gathered["metrics"] |= training_metrics(directory)
    return gathered


def _measured(directory: Measured, split: str) -> dict[str, Any]:
    """What was measured of one run or reference row, with the intervals of its means."""
    entry = directory.measured_splits()[split]
    _add_intervals(entry["metrics"], directory.per_image, f"{split}.")
    for sampler, made in (entry.get("generations") or {}).items():
        prefix = f"{split}.generations.{sampler}."
        _add_intervals(made["metrics"], directory.per_image, prefix)
    kept = {key: entry.get(key) for key in _KEPT}
    if entry.get("latents") is not None:
        kept["latents"] = _rounded(entry["latents"])
    return {"evaluation_code": entry.get("code")} | kept


def _rounded(value: Any) -> Any:
    """With every float in it at six significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _add_intervals(metrics: dict[str, dict[str, Any]], per_image: Path, prefix: str) -> None:
    there = member_names(per_image) if per_image.is_file() else []
    keys = [k for k, about in metrics.items() if about["over"] == "images" and prefix + k in there]
    values = {key: np.asarray(open_array(per_image, prefix + key), np.float64) for key in keys}
    for about in metrics.values():
        about["interval"] = None
    # All metrics of as many images at once: drawing the images is most of the work.
    for count in {len(of) for of in values.values()}:
        together = [key for key in keys if len(values[key]) == count]
        ends = bootstrap_interval(np.stack([values[key] for key in together], axis=1))
        for key, low, high in zip(together, *ends, strict=True):
            metrics[key]["interval"] = [float(f"{low:.6g}"), float(f"{high:.6g}")]


def _references(study: Study, dataset: Dataset, runs: Path) -> list[dict[str, Any]]:
    """The study's own reference rows, as far as they are measured as it would measure them."""
    found = []
    for reference, directory in reference_rows(study, dataset, runs):
        if reference_measured(study, directory, dataset):
            cell = {"seed": None} | _measured(directory, study.split)
            about = {"name": reference.name, "label": reference.label}
            found.append(about | {"definition": reference.definition, "cells": [cell]})
    return found


def deflate(record: dict[str, Any]) -> dict[str, Any]:
    """A record as `runs.json` holds it: what is said of a metric stands once, under `metrics`,
    and where it was measured its place there (`about`), mean, sd and interval."""
    said: dict[str, int] = {}
    # A copy, all the way down.
    made = json.loads(json.dumps(record))
    for metrics in _all_metrics(made):
        for key, about in metrics.items():
            own = {name: about.pop(name) for name in _OWN if name in about}
            place = said.setdefault(json.dumps(about), len(said))
            metrics[key] = {"about": place} | own
    return made | {"metrics": [json.loads(text) for text in said]}


def read_record(path: Path) -> dict[str, Any]:
    """A study's `runs.json` as `gather` made it; StudyError where it is none."""
    record = read_json_object(path)
    if record.get("format") != FORMAT:
        raise StudyError(
            f"{path}: format {record.get('format')!r}, this version reads {FORMAT}; "
            "python reproduce.py STUDY writes it anew"
        )
    try:
        known = record.pop("metrics")
        for metrics in _all_metrics(record):
            for key, own in metrics.items():
                place = own.pop("about")
                if not 0 <= place < len(known):
                    raise IndexError(place)
                metrics[key] = known[place] | own
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise StudyError(f"{path}: not a study's record: {type(error).__name__} {error}") from None
    return record


def check_record(record: dict[str, Any], path: Path) -> None:
    """StudyError where the record of the file `path` is of another study than its folder, or where
    one of its tables is none: their names are names of files."""
    folder = path.resolve().parent.name
    if record["study"] != folder:
        raise StudyError(
            f"{path}: study: {record['study']!r} is wanted to be '{folder}', the folder's name"
        )
    for number, table in enumerate(record["tables"]):
        validate(StudyTable, table, f"{path}: tables.{number}")


def _all_metrics(record: dict[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The metrics of each cell and of each of its samplers, to be changed in place."""
    for row in [*record["rows"], *record["references"]]:
        for cell in row["cells"]:
            if cell["metrics"] is not None:
                yield cell["metrics"]
            for made in (cell.get("generations") or {}).values():
                yield made["metrics"]
