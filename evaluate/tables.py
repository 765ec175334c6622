"""Tables of a study, from its `runs.json` alone: rows are models, columns metrics.

A cell is the mean over seeds and, with several, ± their sample standard deviation. A metric that
a model does not define is a dash; a run that is missing, or a metric that was not measured,
is an empty cell. None of them is ever a zero.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from evaluate.metric import Metric
from evaluate.registry import GENERATION_KEYS, KEYS
from study.errors import StudyError
from study.pythae_json import suggest

# How a row is called after its sampler, where its model has several; else the sampler's title.
SAMPLERS = {
    "prior": "N(0, I)",
    "uniform": "uniform codes",
    "marginal": "codes of the empirical marginal",
}


@dataclass(frozen=True)
class TableCell:
    """Mean and sample standard deviation over seeds (None with one seed)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class NotMeasured:
    """A metric that the model defines and that was not measured; `reason` says why."""

    reason: str


@dataclass(frozen=True)
class TableRow:
    """A model, or one of its samplers: `found` of `expected` seeds are in its cells.

    A cell that is None is not defined for the model.
    """

    label: str
    found: int
    expected: int
    cells: list[TableCell | NotMeasured | None]
    sampler: str | None = None

    @property
    def seeds(self) -> str:
        """`3`, or `2 of 3` where runs are missing."""
        same = self.found == self.expected
        return str(self.found) if same else f"{self.found} of {self.expected}"


@dataclass(frozen=True)
class Table:
    """A table before it takes a format."""

    name: str
    title: str
    # What it was measured on: split, numbers of images, what is missing of the data set (or None).
    split: str
    images: tuple[int, ...]
    subset: str | None
    columns: list[Metric]
    rows: list[TableRow]
    # Generation tables: how each sampler draws, by key, and how many samples were measured.
    samplers: dict[str, str] | None = None
    samples: tuple[int, ...] = ()
    # More of how they draw, for the footnotes.
    sampling: tuple[str, ...] = ()
    # Of which z reconstructions are, as evaluation says it; older records do not.
    reconstruction: str | None = None


def check_tables(tables: list[Any], where: str) -> None:
    """StudyError where a study's table asks for a metric that is not there, or two have a name."""
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"{where}: tables: two are called '{name}'; rename one")
    for table in tables:
        known = GENERATION_KEYS if table.of == "generation" else KEYS
        for key in table.metrics:
            if key not in known:
                hint = suggest(key, list(known))
                raise StudyError(
                    f"{where}: tables.{table.name}.metrics: '{key}' is not one of "
                    f"{', '.join(known)}{hint}"
                )


def sampler_label(label: str, sampler: str, titles: dict[str, str]) -> str:
    """How a model's row is called in a table or figure of generations.

    `titles` says how each of its samplers draws: of a model with one, the label says it all.
    """
    return f"{label}, {SAMPLERS.get(sampler, titles[sampler])}" if len(titles) > 1 else label


@dataclass(frozen=True)
class _Measured:
    """One row to be: for each seed what holds its `metrics`, None where it is missing."""

    label: str
    sampler: str | None
    entries: list[dict[str, Any] | None]


def _reconstructed(record: dict[str, Any]) -> list[_Measured]:
    return [
        _Measured(row["label"], None, [c if c["metrics"] is not None else None for c in cells])
        for row in record["rows"]
        for cells in [row["cells"]]
    ]


def _generated(record: dict[str, Any]) -> list[_Measured]:
    """A row for each sampler of a model, named after it where the model has several."""
    rows = []
    for row in record["rows"]:
        by_seed = [cell.get("generations") or {} for cell in row["cells"]]
        titles = {key: entry["title"] for seed in by_seed for key, entry in seed.items()}
        for key in titles:
            entries = [seed.get(key) for seed in by_seed]
            rows.append(_Measured(sampler_label(row["label"], key, titles), key, entries))
        if not titles:
            rows.append(_Measured(row["label"], None, [None] * len(by_seed)))
    return rows


def _columns(rows: list[_Measured], keys: list[str]) -> list[Metric]:
    """The metrics in order; one of two settings in one study (an ELBO, say) is two columns.

    One that was wanted and could be measured nowhere is a column without a definition.
    """
    columns: list[Metric] = []
    for key in keys:
        made: list[Metric] = []
        found = [entry for row in rows for entry in row.entries if entry]
        for entry in found:
            if about := entry["metrics"].get(key):
                about = {k: v for k, v in about.items() if k not in ("mean", "sd")}
                column = Metric(key=key, **about)
                if column not in made:
                    made.append(column)
        if not made and any(key in (entry.get("missing") or {}) for entry in found):
            made = [Metric(key, key, None, "", "")]
        columns += made
    return columns


def _cell(row: _Measured, column: Metric) -> TableCell | NotMeasured | None:
    means, reasons = [], []
    for entry in filter(None, row.entries):
        about = entry["metrics"].get(column.key)
        if about and (about["title"], about["settings"]) == (column.title, column.settings):
            means.append(about["mean"])
        elif not about and column.key in (entry.get("missing") or {}):
            reasons.append(entry["missing"][column.key])
        elif about:
            reasons.append(f"{about['title']} was asked for")
    if reasons:
        # Nor a mean over some of the seeds that the row counts.
        return NotMeasured(reasons[0])
    if not means:
        return None
    series = pd.Series(means, dtype="float64")
    return TableCell(float(series.mean()), float(series.std(ddof=1)) if len(means) > 1 else None)


def build_table(record: dict[str, Any], table: dict[str, Any]) -> Table:
    """`record` is a study's `runs.json` one run measured at least; `table` one of its tables."""
    generation = table.get("of") == "generation"
    measured_rows = _generated(record) if generation else _reconstructed(record)
    columns = _columns(measured_rows, table["metrics"])
    rows = []
    for row in measured_rows:
        found = sum(entry is not None for entry in row.entries)
        cells = [_cell(row, column) for column in columns]
        rows.append(TableRow(row.label, found, len(row.entries), cells, row.sampler))
    on = measured(record)[0]
    images = tuple(sorted({cell["images"] for cell in measured(record)}))
    measured_on = record["split"], images, on["data"]["subset"]
    made = Table(table["name"], table["title"], *measured_on, columns, rows)
    made = replace(made, reconstruction=on.get("reconstruction"))
    if not generation:
        return made
    entries = [(row.sampler, e) for row in measured_rows for e in row.entries if row.sampler and e]
    samplers = {sampler: entry["title"] for sampler, entry in entries if sampler}
    samples = tuple(sorted({entry["samples"] for _, entry in entries}))
    return replace(made, samplers=samplers, samples=samples, sampling=_sampling(record))


def _sampling(record: dict[str, Any]) -> tuple[str, ...]:
    """How each sampler draws; with the models' names where one title means two things."""
    told: dict[str, dict[str, list[str]]] = {}
    for row in record["rows"]:
        for cell in row["cells"]:
            for entry in (cell.get("generations") or {}).values():
                if not entry.get("definition"):
                    continue
                labels = told.setdefault(entry["title"], {}).setdefault(entry["definition"], [])
                if row["label"] not in labels:
                    labels.append(row["label"])
    return tuple(
        title + (f" ({', '.join(labels)})" if len(meanings) > 1 else "") + f": {definition}"
        for title, meanings in told.items()
        for definition, labels in meanings.items()
    )


def measured(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of a record that have numbers."""
    cells = [cell for row in record["rows"] for cell in row["cells"]]
    return [cell for cell in cells if cell["metrics"] is not None]


def pieces(table: Table, most: int) -> list[Table]:
    """The table cut into ones of at most `most` metrics, about as wide as each other."""
    count = math.ceil(len(table.columns) / most) or 1
    width = math.ceil(len(table.columns) / count) or 1
    return [
        replace(
            table,
            columns=table.columns[start : start + width],
            rows=[replace(row, cells=row.cells[start : start + width]) for row in table.rows],
        )
        for start in range(0, count * width, width)
    ]
