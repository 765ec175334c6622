"""`python -m slurm --estimate STUDY`: time, memory and disk of a study, from timed steps."""

from typing import Any

import pandas as pd

from slurm.costs import Left, Row, left_of, rows_of
from slurm.estimate_site import jobs_of_run, limit_lines, memory_words, timing_command, wants_gpu
from slurm.schedule import makespan
from study.clusters import ClusterConfig
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.expansion import Cell, Study
from train.estimate import spoken
from train.staging import amount


def estimate_study(
    study: Study, arguments: Any, site: ClusterConfig | None, cells: list[Cell]
) -> list[str]:
    """What `cells` of the study cost, as lines for a person.

    `arguments` are those of `python -m slurm`. StudyError where the data are not prepared or a
    directory holds another run; StudyError or RunFailed, naming it, where a run cannot be timed.
    """
    if not cells:
        raise StudyError("--only names no run; runs are what is estimated")
    dataset = _dataset(study, arguments)
    rows = rows_of(study, arguments, dataset, cells)
    of_cell = {id(cell): row for row in rows for cell in row.cells}
    left = [left_of(study, of_cell[id(cell)], cell, arguments, dataset) for cell in cells]
    at_once = arguments.max_parallel or (site.max_parallel if site else 1)
    return [
        *_table(rows).splitlines(),
        "",
        *on_what(rows, arguments, site),
        *_times(rows, left, site, at_once),
        _disk(rows, dataset, at_once),
        f"memory    {memory_words(rows, site)}",
        *(limit_lines(left, site) if site else []),
        "not in it the data job, reference rows and tables, pictures, waiting in the queue",
    ]


def _dataset(study: Study, arguments: Any) -> Dataset:
    name = study.cells[0].run.config.dataset
    if not (arguments.data / name / "manifest.json").is_file():
        budget = f" --budget {arguments.budget}" if arguments.budget else ""
        raise StudyError(
            f"{arguments.data / name}: no prepared data set there, and runs are timed on it; "
            f"prepare it first: python reproduce.py {arguments.study}{budget} --data "
            f"{arguments.data} --only data (with --raw FOLDER where it is made of raw files)"
        )
    return open_dataset(arguments.data, name)


def _table(rows: list[Row]) -> str:
    shown = [
        {
            "run": row.name,
            "runs": len(row.cells),
            "training": spoken(row.training) + (" (measured)" if row.trained else ""),
            "evaluation": spoken(row.timed.evaluation),
            "a run": spoken(row.seconds),
            "memory": amount(row.timed.memory),
            "GPU memory": "–" if row.timed.gpu_memory is None else amount(row.timed.gpu_memory),
            "disk": amount(row.timed.final),
        }
        for row in rows
    ]
    return pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)


def on_what(rows: list[Row], arguments: Any, site: ClusterConfig | None) -> list[str]:
    """What was timed, where, and what that does not tell."""
    machine = rows[0].timed.machine
    lines = [
        f"timed     one run of each row, on {machine['gpu'] or machine['processor']}, "
        f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    ]
    measured: dict[str | None, list[str]] = {}
    for row in rows:
        if row.trained:
            measured.setdefault(row.gpu, []).append(row.name)
    lines += [
        f"measured  training of {', '.join(names)}: the median of finished runs on "
        f"{gpu or 'this kind of machine'}; the rest is extrapolated"
        for gpu, names in measured.items()
    ]
    if machine["gpu"] is None and wants_gpu(rows, site):
        lines.append(
            f"no GPU    was there, and times on a processor say nothing about one; on a node with "
            f"a GPU: {timing_command(arguments, site)}"
        )
    if missing := sorted({key for row in rows for key in row.timed.missing}):
        lines.append(f"without   {', '.join(missing)}, which cannot be measured here")
    return lines


def _times(
    rows: list[Row], left: list[Left], site: ClusterConfig | None, at_once: int | None
) -> list[str]:
    once = max(row.timed.classifier for row in rows)
    whole = sum(len(row.cells) * row.seconds for row in rows) + once
    todo = [one for one in left if one.work]
    lines = [f"time      {_hours(rows, whole)} for {_runs(len(left))}"]
    if once:
        lines[0] += f", {spoken(once)} of it for the data set's classifier, trained once"
    if not todo:
        return [*lines, "left      nothing: all of them are trained and evaluated"]
    rest = sum(one.seconds for one in todo) + once
    if rest < 0.999 * whole:
        lines.append(f"left      {_hours(rows, rest)} for {_runs(len(todo))} that are not done")
    # A job that goes on begins as the first one did.
    again = [max(0, jobs_of_run(one, site) - 1) if site else 0 for one in todo]
    lengths = [
        one.seconds + more * one.row.timed.start for one, more in zip(todo, again, strict=True)
    ]
    beside = "all at once" if at_once is None else f"{at_once} at once"
    how = "one run after the other" if at_once == 1 else beside
    lines.append(f"wall      {spoken(makespan(lengths, at_once) + once)} until all is done, {how}")
    return lines


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _hours(rows: list[Row], seconds: float) -> str:
    """`12.3 GPU-hours`, or of a processor's cores, or, of both, plain ones."""
    machine = rows[0].timed.machine
    if machine["gpu"] is not None or all(row.gpu for row in rows):
        return f"{seconds / 3600:.2f} GPU-hours"
    if any(row.gpu for row in rows):
        return f"{seconds / 3600:.2f} hours"
    return f"{seconds * machine['threads'] / 3600:.2f} core-hours"


def _disk(rows: list[Row], dataset: Dataset, at_once: int | None) -> str:
    done = sum(len(row.cells) * row.timed.final for row in rows)
    # The largest ones in training together, when all others are done.
    more = sorted((row.timed.peak for row in rows for _ in row.cells), reverse=True)
    highest = done + sum(more[: at_once or len(more)])
    data = sum(split["bytes"] for split in dataset.manifest["splits"].values())
    return (
        f"disk      {amount(done)} of run directories in the end, {amount(highest)} at the "
        f"highest; the data set {dataset.name} has {amount(data)}"
    )
