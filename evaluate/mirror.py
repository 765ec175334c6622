"""What evaluation and tables give to wandb: numbers, tables, pictures."""

from pathlib import Path
from typing import Any

import pandas as pd

from study.expansion import Study
from study.files import to_json
from study.rundir import RunDirectory
from study.tracking import Cell, Job, Tracker, identifier, run_job

COLUMNS = ("split", "of", "metric", "mean", "sd", "better", "unit")


def mirror_evaluation(directory: RunDirectory) -> None:
    """Log all of `metrics.json`, whichever split was measured last, and the pictures beside it:
    it takes the place of what was logged of this evaluation before."""
    with Tracker(run_job(directory, "evaluate")) as tracker:
        for split, entry in directory.measured_splits().items():
            rows = metric_rows(split, entry)
            tracker.log_values({"/".join((row[0], row[1], row[2])): row[3] for row in rows})
            tracker.log_table(f"metrics/{split}", COLUMNS, rows)
        tracker.log_images(_pictures(directory.path))


def metric_rows(split: str, entry: dict[str, Any]) -> list[tuple[Cell, ...]]:
    """A row of `COLUMNS` for each metric: of reconstructions, then of each sampler's images."""
    of = {"reconstruction": entry["metrics"]}
    for sampler, made in entry.get("generations", {}).items():
        of[f"generation ({sampler})"] = made["metrics"]
    return [
        (split, what, *(metric[key] for key in ("title", "mean", "sd", "better", "unit")))
        for what, metrics in of.items()
        for metric in metrics.values()
    ]


def mirror_tables(study: Study, record: dict[str, Any], results: Path, runs: Path) -> None:
    """Log a study's tables and figures as they stand in `results/<study>/`.

    The same numbers are the same run in wandb, other numbers another one.
    """
    about = {key: record[key] for key in ("study", "title", "source", "budget", "cost", "split")}
    # With the study's name in it `slurm.sync` knows it among others.
    content = f"{study.name}-{identifier('tables', to_json(record['rows']))}"
    name = f"{study.name}/tables"
    job = Job(study.tracking, "tables", runs / study.name, content, name, study.name, about)
    with Tracker(job) as tracker:
        for table in study.config.tables:
            frame = pd.read_csv(results / f"{table.name}.csv").astype(object)
            frame = frame.where(frame.notna(), None)
            tracker.log_table(f"tables/{table.name}", list(frame.columns), frame.values.tolist())
        tracker.log_images(_pictures(results))


def _pictures(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob("*.png"))}
