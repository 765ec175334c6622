"""Tables of a study, from its record alone: rows are models, columns metrics.

A cell is the mean over seeds and, with several, ± their sample standard deviation; with one, the
bootstrap interval over images. A metric that a model does not define is a dash; a run that is
missing, or a metric that was not measured, is an empty cell. None of them is ever a zero.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from evaluate.comparisons import ALPHA, WELCH, find
from evaluate.metric import Metric
from evaluate.registry import GENERATION_KEYS, KEYS
from evaluate.rows import Measured, columns, generated, reconstructed
from study.errors import StudyError
from study.pythae_json import suggest


@dataclass(frozen=True)
class TableCell:
    """Mean and sample standard deviation over seeds (None with one seed).

    `interval` is the 95 % bootstrap interval over images of a row of one seed (None: one number of
    the split), `p` that of the row against the column's best (None: not compared), `best` whether
    it is the best of a column that was compared.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None = None
    best: bool = False
    p: float | None = None

    @property
    def as_good(self) -> bool:
        """Whether it is not the best and cannot be told from it."""
        return not self.best and self.p is not None and self.p >= ALPHA


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
    # A floor or a ceiling (PCA, the mean image), which has no seed.
    reference: bool = False

    @property
    def seeds(self) -> str:
        """`3`, or `2 of 3` where runs are missing; a dash for a reference."""
        if self.reference:
            return "–"
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
    # More of how they draw, and what references are, for the footnotes.
    sampling: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()
    # Of which z reconstructions are, as evaluation says it; older records do not.
    reconstruction: str | None = None
    # Rows that stand below the models and are compared with nothing.
    references: tuple[TableRow, ...] = ()
    # Titles of the columns whose best was tested over seeds alone: numbers of a whole split.
    over_seeds: tuple[str, ...] = ()


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


def measured_cell(row: Measured, column: Metric) -> TableCell | NotMeasured | None:
    """What a table shows of a row in a column; None: not defined for the model."""
    found, reason = row.of(column)
    if reason is not None:
        # Nor a mean over some of the seeds that the row counts.
        return NotMeasured(reason)
    if not found:
        return None
    series = pd.Series([about["mean"] for about in found.values()], dtype="float64")
    if len(series) > 1:
        return TableCell(float(series.mean()), float(series.std(ddof=1)))
    interval = next(iter(found.values())).get("interval")
    return TableCell(float(series[0]), None, tuple(interval) if interval else None)


def _row(row: Measured, own: list[Metric], reference: bool = False) -> TableRow:
    found = sum(entry is not None for entry in row.entries)
    cells = [measured_cell(row, column) for column in own]
    return TableRow(row.label, found, len(row.entries), cells, row.sampler, reference)


def _mark(
    rows: list[TableRow], keys: list[str], number: int, comparison: dict[str, Any] | None
) -> None:
    """Write into a column's cells which is best and how far the others can be told from it.

    `keys` are the rows' names in comparisons.
    """
    best = comparison and comparison["best"]
    if best not in keys or not isinstance(top := rows[keys.index(best)].cells[number], TableCell):
        return
    for key, row in zip(keys, rows, strict=True):
        if isinstance(cell := row.cells[number], TableCell):
            p = 1.0 if key == best else comparison["p"].get(key)
            # Runs of the same bits are best together.
            same = p is not None and cell.mean == top.mean
            row.cells[number] = replace(cell, best=same, p=p)


def build_table(record: dict[str, Any], table: dict[str, Any]) -> Table:
    """`record` is a study's record (`read_record`) with one run measured at least; `table` one of
    its tables."""
    of = table.get("of") or "reconstruction"
    kind = generated if of == "generation" else reconstructed
    models, floor = kind(record["rows"]), kind(record.get("references") or [])
    own = columns([*models, *floor], table["metrics"])
    rows, keys = [_row(row, own) for row in models], [row.key for row in models]
    over_seeds = []
    for number, column in enumerate(own):
        comparison = find(record.get("comparisons") or [], of, column)
        _mark(rows, keys, number, comparison)
        if comparison and comparison["test"] == WELCH:
            over_seeds.append(column.title)
    on = measured(record)[0]
    made = Table(
        table["name"],
        table["title"],
        record["split"],
        tuple(sorted({cell["images"] for cell in measured(record)})),
        on["data"]["subset"],
        own,
        rows,
        reconstruction=on.get("reconstruction"),
        over_seeds=tuple(over_seeds),
    )
    made = _with_references(made, record, floor)
    return _with_samplers(made, record, models) if of == "generation" else made


def _with_references(table: Table, record: dict[str, Any], floor: list[Measured]) -> Table:
    """With the reference rows that have a number in it, and what each of them is."""
    rows, names = [], []
    for reference in floor:
        row = _row(reference, table.columns, reference=True)
        if any(isinstance(cell, TableCell) for cell in row.cells):
            rows.append(row)
            names.append(reference.name)
    told = [
        f"{row['label']}: {row['definition']}"
        for row in record.get("references") or []
        if row["name"] in names
    ]
    return replace(table, references=tuple(rows), floors=tuple(told))


def _with_samplers(table: Table, record: dict[str, Any], models: list[Measured]) -> Table:
    """With how the samples of its rows were drawn, and how many."""
    entries = [(row.sampler, e) for row in models for e in row.entries if row.sampler and e]
    samplers = {sampler: entry["title"] for sampler, entry in entries if sampler}
    samples = tuple(sorted({entry["samples"] for _, entry in entries}))
    return replace(table, samplers=samplers, samples=samples, sampling=_sampling(record))


def _sampling(record: dict[str, Any]) -> tuple[str, ...]:
    """How each sampler draws; with the models' names where one title means two things."""
    told: dict[str, dict[str, list[str]]] = {}
    for row in [*record["rows"], *(record.get("references") or [])]:
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


def numbers(table: Table) -> list[TableCell]:
    """The cells of a table that have numbers, references' too."""
    rows = [*table.rows, *table.references]
    return [cell for row in rows for cell in row.cells if isinstance(cell, TableCell)]


def pieces(table: Table, most: int) -> list[Table]:
    """The table cut into ones of at most `most` metrics, about as wide as each other."""
    count = math.ceil(len(table.columns) / most) or 1
    width = math.ceil(len(table.columns) / count) or 1

    def cut(row: TableRow, start: int) -> TableRow:
        return replace(row, cells=row.cells[start : start + width])

    return [
        replace(
            table,
            columns=table.columns[start : start + width],
            rows=[cut(row, start) for row in table.rows],
            references=tuple(cut(row, start) for row in table.references),
        )
        for start in range(0, count * width, width)
    ]
