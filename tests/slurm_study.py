"""What tests of submissions share: a cluster file, the command, and what is known of a job."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from study.jsonfile import read_json_object
from tests import made
from tests.reproducing import folders
from tests.slurm_lab import Lab, Row

OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


def write_site(folder: Path, name: str = "site", **changes: object) -> Path:
    """A cluster file for the SLURM of the tests; `changes` replace whole keys."""
    site = {
        "environment": {"venv": sys.prefix},
        "warning": 5,
        "sbatch": {"cpus_per_task": 1, "mem": "1G"},
        "stages": {
            "data": {"time": "00:10:00"},
            "run": {"time": "00:10:00", "gres": None},
            "tables": {"time": "00:10:00"},
        },
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(site | changes))
    return path


def write_study(folder: Path) -> Path:
    """A study of one run, `ae`, with its data."""
    made.dataset(folder / "data", "shapes")
    made.run_file(folder, name="ae", dataset="shapes")
    path = folder / "made.json"
    path.write_text(json.dumps(made.study_config({"ae": "ae.json"}, seeds=[0])))
    return path


def words(study: Path, work: Path, *more: str | Path) -> list[str]:
    """Of `python -m slurm`, for a study whose data, runs and results are in `work`."""
    return [str(study), *folders(work), *map(str, more)]


def slurm_command(lab: Lab, *arguments: str) -> str:
    """What `python -m slurm` prints. In this process, which has imported torch already."""
    from slurm.__main__ import main

    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, lab.environment),
        mock.patch.object(sys, "argv", ["slurm", *arguments]),
        contextlib.redirect_stdout(said),
    ):
        assert main() == 0
    return said.getvalue()


def records(work: Path, study: str) -> dict[str, dict]:
    """The records of a study's jobs, the last one of each stage."""
    files = sorted((work / "runs" / study / "slurm").glob("*.json"), key=lambda f: int(f.stem))
    return {record["stage"]: record for record in map(read_json_object, files)}


def job(lab: Lab, number: str) -> Row:
    """The job, or the element, of that number."""
    [row] = [row for row in lab.jobs() if row.id == number]
    return row


def over(lab: Lab, *numbers: str) -> Callable[[], bool]:
    """Whether these jobs, with all elements of arrays, are over."""

    def check() -> bool:
        rows = [row for row in lab.jobs() if row.id.partition("_")[0] in numbers]
        return bool(rows) and all(row.state in OVER for row in rows)

    return check
