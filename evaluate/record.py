"""`results/<study>/runs.json`: what every run of a study gave, gathered from run directories.

Tables are made from this file alone, so that the committed ones can be made again without the
runs.
"""

from pathlib import Path
from typing import Any

from study.datasets import Dataset
from study.expansion import Cell, Study
from study.jsonfile import read_json_object
from study.rundir import RunDirectory
from train.run import run_identity

FORMAT = 1


def gather(study: Study, dataset: Dataset, runs: Path, command: str) -> dict[str, Any]:
    """The study's record; a run that is missing or not evaluated has `metrics: null`.

    A run directory that holds another run than the study's (another config, other data) counts as
    missing: a table never shows numbers under a command that did not make them.
    """
    rows = []
    for name, cells in study.rows().items():
        gathered = [
            _gather_cell(cell, dataset, study.run_directory(runs, cell), study.split)
            for cell in cells
        ]
        rows.append({"name": name, "label": cells[0].label, "cells": gathered})
    return {
        "format": FORMAT,
        "study": study.name,
        "title": study.config.title,
        "source": study.config.source,
        "budget": study.budget,
        "cost": study.cost,
        "command": command,
        "split": study.split,
        "tables": [table.model_dump() for table in study.config.tables],
        "rows": rows,
    }


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
        entry = directory.measured_splits()[split]
        gathered["evaluation_code"] = entry["code"]
        kept = ("images", "reconstruction", "metrics", "mean_image_mse", "missing", "generations")
        for key in kept:
            gathered[key] = entry[key]
    return gathered
