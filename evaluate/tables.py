"""Tables of a study, from its `runs.json` alone: rows are models, columns metrics.

A cell is the mean over seeds and, with several, ± their sample standard deviation. A metric that
a model does not define is a dash, a run that is missing an empty cell; neither is ever a zero.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluate.registry import KEYS, Metric
from study.errors import StudyError
from study.pythae_json import suggest

UNDEFINED = "–"
MISSING = ""


@dataclass(frozen=True)
class TableCell:
    """Mean and sample standard deviation over seeds (None with one seed)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class TableRow:
    """One model: `found` of `expected` seeds are in its cells (None: not defined)."""

    label: str
    found: int
    expected: int
    cells: list[TableCell | None]

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
    # What it was measured on: split, number of images, what is missing of the data set (or None).
    split: str
    images: int
    subset: str | None
    columns: list[Metric]
    rows: list[TableRow]


def format_number(value: float, decimals: int | None = None) -> str:
    """Four significant digits, one decimal from 1,000 on; or a given number of decimals."""
    if decimals is None:
        size = math.floor(math.log10(abs(value))) if value else 0
        decimals = max(1, 3 - size)
    return f"{value:.{decimals}f}".replace("-", "−")


def format_cell(cell: TableCell) -> str:
    """`0.0153`, or `0.0153 ± 0.0012`: the deviation with two digits, the mean cut to match."""
    if cell.sd is None:
        return format_number(cell.mean)
    if cell.sd == 0:
        return f"{format_number(cell.mean)} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(cell.sd)))
    return f"{format_number(cell.mean, decimals)} ± {format_number(cell.sd, decimals)}"


def check_tables(tables: list[Any], where: str) -> None:
    """StudyError where a study's table asks for a metric that is not there, or two have a name."""
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"{where}: tables: two are called '{name}'; rename one")
    for table in tables:
        for key in table.metrics:
            if key not in KEYS:
                hint = suggest(key, list(KEYS))
                raise StudyError(
                    f"{where}: tables.{table.name}.metrics: '{key}' is not one of "
                    f"{', '.join(KEYS)}{hint}"
                )


def _columns(record: dict[str, Any], keys: list[str]) -> list[Metric]:
    """The metrics in order; one of two settings in one study (an ELBO, say) is two columns."""
    columns: list[Metric] = []
    for key in keys:
        for row in record["rows"]:
            for cell in row["cells"]:
                entry = cell["metrics"].get(key) if cell["metrics"] else None
                if entry:
                    about = {k: v for k, v in entry.items() if k not in ("mean", "sd")}
                    column = Metric(key=key, **about)
                    if column not in columns:
                        columns.append(column)
    return columns


def _cell(row: dict[str, Any], column: Metric) -> TableCell | None:
    means = []
    for cell in row["cells"]:
        entry = (cell["metrics"] or {}).get(column.key)
        if entry and (entry["title"], entry["settings"]) == (column.title, column.settings):
            means.append(entry["mean"])
    if not means:
        return None
    series = pd.Series(means, dtype="float64")
    return TableCell(float(series.mean()), float(series.std(ddof=1)) if len(means) > 1 else None)


def build_table(record: dict[str, Any], table: dict[str, Any]) -> Table:
    """`record` is a study's `runs.json` one run measured at least; `table` one of its tables."""
    columns = _columns(record, table["metrics"])
    rows = []
    for row in record["rows"]:
        found = sum(cell["metrics"] is not None for cell in row["cells"])
        cells = [_cell(row, column) for column in columns]
        rows.append(TableRow(row["label"], found, len(row["cells"]), cells))
    on = measured(record)[0]
    measured_on = record["split"], on["images"], on["data"]["subset"]
    return Table(table["name"], table["title"], *measured_on, columns, rows)


def measured(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of a record that have numbers."""
    cells = [cell for row in record["rows"] for cell in row["cells"]]
    return [cell for cell in cells if cell["metrics"] is not None]


def to_csv(table: Table) -> str:
    """Numbers in full: model, seeds, then mean and sd of each metric; undefined is empty.

    The last columns say what was measured on: split, images, and what is missing of the data set.
    """
    on = {"split": table.split, "images": table.images, "subset": table.subset}
    lines = []
    for row in table.rows:
        line: dict[str, Any] = {"model": row.label, "seeds": row.found}
        for column, cell in zip(table.columns, row.cells, strict=True):
            line[column.title] = cell.mean if cell else None
            line[f"{column.title} sd"] = cell.sd if cell else None
        lines.append(line | on)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """The table for people, in GitHub's Markdown, and under it what it was measured on."""
    lines = []
    for row in table.rows:
        line = {"model": row.label, "seeds": row.seeds}
        for column, cell in zip(table.columns, row.cells, strict=True):
            absent = UNDEFINED if row.found else MISSING
            line[column.heading] = format_cell(cell) if cell else absent
        lines.append(line)
    align = ["left", "right"] + ["right"] * len(table.columns)
    frame = pd.DataFrame(lines)
    made = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
    return f"{made}\n\n{_measured_on(table)}\n"


def _measured_on(table: Table) -> str:
    parts = [f"Measured on the {table.split} split, {table.images:,} images."]
    if table.subset:
        parts.append(f"**Not the whole data set:** {table.subset}.")
    if any(row.found > 1 for row in table.rows):
        parts.append("Cells are mean ± sample standard deviation over seeds.")
    else:
        parts.append("One seed each, so no spread between seeds is known.")
    if any(row.found and cell is None for row in table.rows for cell in row.cells):
        parts.append(f"{UNDEFINED} means: not defined for this model.")
    if any(row.found < row.expected for row in table.rows):
        parts.append("An empty cell is a run that is missing.")
    return " ".join(parts)


def footnotes(table: Table) -> list[str]:
    """A line for each column: what it is, its unit, settings, package."""
    notes = []
    for column in table.columns:
        settings = ", ".join(f"{key} {value}" for key, value in column.settings.items())
        plain = column.key != "ELBO" and settings
        notes.append(
            f"{column.title}: {column.definition}; {column.unit}"
            + (f" ({settings})" if plain else "")
            + (f"; computed by {column.package}" if column.package else "")
            + "."
        )
    return notes
