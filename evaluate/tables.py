"""Tables of a study, from its `runs.json` alone: rows are models, columns metrics.

A cell is the mean over seeds and, with several, ± their sample standard deviation. A metric that
a model does not define is a dash; a run that is missing, or a metric that could not be measured,
is an empty cell. None of them is ever a zero.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from evaluate.registry import GENERATION_KEYS, KEYS, Metric
from study.errors import StudyError
from study.pythae_json import suggest

UNDEFINED = "–"
MISSING = ""
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
    """A metric that the model defines and that could not be measured; `reason` says why."""

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
    # What it was measured on: split, number of images, what is missing of the data set (or None).
    split: str
    images: int
    subset: str | None
    columns: list[Metric]
    rows: list[TableRow]
    # Generation tables: how each sampler draws, by key, and how many samples were measured.
    samplers: dict[str, str] | None = None
    samples: tuple[int, ...] = ()
    # More of how they draw, for the footnotes.
    sampling: tuple[str, ...] = ()


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
    measured_on = record["split"], on["images"], on["data"]["subset"]
    made = Table(table["name"], table["title"], *measured_on, columns, rows)
    if not generation:
        return made
    entries = [(row.sampler, e) for row in measured_rows for e in row.entries if row.sampler and e]
    samplers = {sampler: entry["title"] for sampler, entry in entries if sampler}
    samples = tuple(sorted({entry["samples"] for _, entry in entries}))
    told = {f"{e['title']}: {e['definition']}": None for _, e in entries if e.get("definition")}
    return replace(made, samplers=samplers, samples=samples, sampling=tuple(told))


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


def to_csv(table: Table) -> str:
    """Numbers in full: model, seeds, then mean and sd of each metric; no number is empty.

    The last columns say what was measured on: split, images, what is missing of the data set and,
    of generations, the number of samples.
    """
    on: dict[str, Any] = {"split": table.split, "images": table.images, "subset": table.subset}
    lines = []
    for row in table.rows:
        line: dict[str, Any] = {"model": row.label, "seeds": row.found}
        if table.samplers is not None:
            line["sampler"] = row.sampler
            on["samples"] = ", ".join(str(count) for count in table.samples)
        for column, cell in zip(table.columns, row.cells, strict=True):
            number = cell if isinstance(cell, TableCell) else None
            line[column.title] = number.mean if number else None
            line[f"{column.title} sd"] = number.sd if number else None
        lines.append(line | on)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def headings(table: Table) -> list[str]:
    """The head of the table as people read it."""
    return ["model", "seeds", *(column.heading for column in table.columns)]


def cell_texts(table: Table) -> list[list[str]]:
    """Its lines as people read them, the same in Markdown and LaTeX."""
    lines = []
    for row in table.rows:
        absent = UNDEFINED if row.found else MISSING
        line = [row.label, row.seeds]
        for cell in row.cells:
            if isinstance(cell, TableCell):
                line.append(format_cell(cell))
            else:
                line.append(MISSING if isinstance(cell, NotMeasured) else absent)
        lines.append(line)
    return lines


def to_markdown(table: Table) -> str:
    """The table for people, in GitHub's Markdown, and under it what it was measured on."""
    return f"{markdown_grid(table)}\n\n{markdown_note(table)}\n"


def markdown_grid(table: Table) -> str:
    """The table alone."""
    frame = pd.DataFrame(cell_texts(table), columns=headings(table))
    align = ["left"] + ["right"] * (len(frame.columns) - 1)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def markdown_note(table: Table) -> str:
    """What stands under it."""
    return " ".join(f"**{text}**" if loud else text for text, loud in measured_on(table))


def measured_on(table: Table) -> list[tuple[str, bool]]:
    """What stands under a table, a sentence or a loud piece of one each, and whether it is loud."""
    notes = _of_what(table)
    if table.subset:
        notes += [("Not the whole data set:", True), (f"{table.subset}.", False)]
    quiet = []
    if any(row.found > 1 for row in table.rows):
        quiet.append("Cells are mean ± sample standard deviation over seeds.")
    else:
        quiet.append("One seed each, so no spread between seeds is known.")
    if any(row.found and cell is None for row in table.rows for cell in row.cells):
        quiet.append(f"{UNDEFINED} means: not defined for this model.")
    if any(row.found < row.expected for row in table.rows):
        quiet.append("An empty cell is a run that is missing.")
    return notes + [(text, False) for text in quiet + _reasons(table)]


def _of_what(table: Table) -> list[tuple[str, bool]]:
    on = f"the {table.split} split, {table.images:,} images"
    if table.samplers is None:
        return [(f"Measured on {on}.", False)]
    counts = " or ".join(f"{count:,}" for count in table.samples) or "no"
    several = len(table.samplers) > 1
    drawn = [
        f"{SAMPLERS.get(key, title)}: {title}"
        if several and SAMPLERS.get(key) not in title
        else title
        for key, title in table.samplers.items()
    ]
    return [
        (f"Measured on {counts} samples of each row against their own reconstructions.", False),
        (f"Samples: {'; '.join(drawn)}.", False),
        (f"What is relative to the data is so to {on}.", False),
    ]


def _reasons(table: Table) -> list[str]:
    """Why cells are empty of a metric that their models define."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if isinstance(cell, NotMeasured):
                reason = cell.reason.rstrip(".")
                found.setdefault((column.title, reason), []).append(row.label)
    there = sum(row.found > 0 for row in table.rows)
    return [
        f"{title} could not be measured"
        + (f" ({', '.join(labels)})" if len(labels) < there else "")
        + f": {reason}."
        for (title, reason), labels in found.items()
    ]


def footnotes(table: Table) -> list[str]:
    """A line for each column: what it is, its unit, settings, package; samplers before them."""
    notes = [f"Samples, {how}." for how in table.sampling]
    for column in table.columns:
        if not column.definition:  # nowhere measured: the note under the table says why
            continue
        settings = ", ".join(f"{key} {value}" for key, value in column.settings.items())
        plain = column.key != "ELBO" and settings
        notes.append(
            f"{column.title}: {column.definition}; {column.unit}"
            + (f" ({settings})" if plain else "")
            + (f"; computed by {column.package}" if column.package else "")
            + "."
        )
    return notes
