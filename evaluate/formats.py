"""A table as CSV and Markdown, and the words under it; LaTeX has a module of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluate.comparisons import ALPHA
from evaluate.rows import SAMPLERS
from evaluate.tables import NotMeasured, Table, TableCell, TableRow, numbers

UNDEFINED = "–"
MISSING = ""
# Behind what cannot be told from the best of its column.
AS_GOOD = "†"


@dataclass(frozen=True)
class Dress:
    """How a format writes plain text, the best of a column, and the label of a reference."""

    plain: Callable[[str], str]
    best: Callable[[str], str]
    reference: Callable[[str], str]


MARKDOWN = Dress(str, lambda text: f"**{text}**", lambda text: f"*{text}*")


def format_number(value: float, decimals: int | None = None) -> str:
    """Four significant digits, one decimal from 1,000 on; or a given number of decimals."""
    if decimals is None:
        size = math.floor(math.log10(abs(value))) if value else 0
        decimals = max(1, 3 - size)
    return f"{value:.{decimals}f}".replace("-", "−")


def format_cell(cell: TableCell) -> str:
    """`0.0153`, `0.0153 ± 0.0012` or `0.0153 [0.0141, 0.0165]`: the deviation, or half the
    interval, with two digits, the rest cut to match."""
    if cell.sd is not None:
        if cell.sd == 0:
            return f"{format_number(cell.mean)} ± 0"
        decimals = _decimals(cell.sd)
        return f"{format_number(cell.mean, decimals)} ± {format_number(cell.sd, decimals)}"
    if cell.interval is None:
        return format_number(cell.mean)
    low, high = cell.interval
    decimals = _decimals((high - low) / 2) if high > low else None
    ends = ", ".join(format_number(end, decimals) for end in (low, high))
    return f"{format_number(cell.mean, decimals)} [{ends}]"


def _decimals(size: float) -> int:
    """How many give `size` two digits."""
    return max(0, 1 - math.floor(math.log10(size)))


def to_csv(table: Table) -> str:
    """Numbers in full: model, seeds (none of a reference), then mean and sd of each metric.

    Where there are any: the ends of the interval (`low`, `high`) and the p against the column's
    best (`vs best p`; its own is 1). No number is empty. The last columns say what was measured
    on: split, images, what is missing of the data set and, of generations, the number of samples.
    """
    images = ", ".join(str(count) for count in table.images)
    on: dict[str, Any] = {"split": table.split, "images": images, "subset": table.subset}
    if table.samplers is not None:
        on["samples"] = ", ".join(str(count) for count in table.samples)
    lines = []
    for row in [*table.rows, *table.references]:
        seeds = None if row.reference else row.found
        line: dict[str, Any] = {"model": row.label, "seeds": seeds}
        if table.samplers is not None:
            line["sampler"] = row.sampler
        lines.append(line)
    frame = pd.DataFrame(lines).astype({"seeds": "Int64"})
    for number, column in enumerate(table.columns):
        for name, values in _csv_columns(table, number).items():
            frame[f"{column.title}{name}"] = values
    return frame.assign(**on).to_csv(index=False, lineterminator="\n")


def _csv_columns(table: Table, number: int) -> dict[str, list[float | None]]:
    """What a metric's columns hold, by what follows its title in their heads."""
    cells = [
        cell if isinstance(cell, TableCell) else None
        for row in [*table.rows, *table.references]
        for cell in [row.cells[number]]
    ]
    ends = [cell.interval or (None, None) if cell else (None, None) for cell in cells]
    p = [cell.p if cell else None for cell in cells]
    made: dict[str, list[float | None]] = {
        "": [cell.mean if cell else None for cell in cells],
        " sd": [cell.sd if cell else None for cell in cells],
    }
    if any(low is not None for low, _ in ends):
        made |= {" low": [low for low, _ in ends], " high": [high for _, high in ends]}
    if any(of is not None for of in p):
        made[" vs best p"] = p
    return made


def headings(table: Table) -> list[str]:
    """The head of the table as people read it."""
    return ["model", "seeds", *(column.heading for column in table.columns)]


def cell_texts(table: Table, dress: Dress = MARKDOWN) -> list[list[str]]:
    """Its lines as people read them, models and then references, dressed for a format."""
    return [
        *(_line(row, dress, dress.plain) for row in table.rows),
        *(_line(row, dress, dress.reference) for row in table.references),
    ]


def _line(row: TableRow, dress: Dress, label: Callable[[str], str]) -> list[str]:
    absent = UNDEFINED if row.found else MISSING
    line = [label(row.label), dress.plain(row.seeds)]
    for cell in row.cells:
        if isinstance(cell, TableCell):
            text = format_cell(cell) + (AS_GOOD if cell.as_good else "")
            line.append(dress.best(text) if cell.best else dress.plain(text))
        else:
            line.append(dress.plain(MISSING if isinstance(cell, NotMeasured) else absent))
    return line


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
    rows = [*table.rows, *table.references]
    quiet = [*_uncertainty(table), *_marks(table)]
    if table.references:
        quiet.append(
            "Rows in italics are references, for a floor and a ceiling: they have no seeds and are "
            "compared with nothing."
        )
    if any(row.found and cell is None for row in rows for cell in row.cells):
        whom = "row" if table.references else "model"
        quiet.append(f"{UNDEFINED} means: not defined for this {whom}.")
    if any(row.found < row.expected for row in rows):
        quiet.append("An empty cell is a run that is missing.")
    return notes + [(text, False) for text in quiet + _reasons(table)]


def _uncertainty(table: Table) -> list[str]:
    """What ± and brackets are."""
    said = []
    several = any(row.found > 1 for row in table.rows)
    if several:
        said.append("Cells are mean ± sample standard deviation over seeds.")
    else:
        said.append("One seed each, so no spread between seeds is known.")
    if any(cell.interval for cell in numbers(table)):
        whose = "Brackets, where there is one seed or none," if several else "Brackets"
        images = "images" if table.samplers is None else "samples"
        said.append(
            f"{whose} are the 95 % interval of the mean over {images} (percentile bootstrap); a "
            "number of the whole split has none."
        )
    return said


def _marks(table: Table) -> list[str]:
    """What bold and the mark are, by which test; and where nothing was compared."""
    tested = [
        any(isinstance(cell, TableCell) and cell.p is not None for cell in cells)
        for cells in zip(*(row.cells for row in table.rows), strict=True)
    ]
    said = []
    if any(tested):
        images = "images" if table.samplers is None else "samples"
        several = any(row.found > 1 for row in table.rows)
        # With one seed, other trainings might rank otherwise.
        seeds = "and the spread of the seeds" if several else "alone, of these trainings"
        rule = f"paired bootstrap over {images} {seeds}"
        if table.over_seeds:
            rule += f" (Welch's t-test over seeds for {', '.join(table.over_seeds)})"
        said.append(
            f"Bold is the best of a column; {AS_GOOD} cannot be told from it: p ≥ {ALPHA:g} by "
            f"{rule}, after Holm's correction over all pairs of rows."
        )
    untested = [
        column.title
        for number, column in enumerate(table.columns)
        if column.better and not tested[number] and any(tested)
        if sum(isinstance(row.cells[number], TableCell) for row in table.rows) > 1
    ]
    if untested:
        said.append(f"Not compared, and so not marked: {', '.join(untested)}.")
    return said


def _of_what(table: Table) -> list[tuple[str, bool]]:
    on = f"the {table.split} split, {_counts(table.images)} images"
    if table.samplers is None:
        return [(f"Measured on {on}.", False)]
    counts = _counts(table.samples) or "no"
    several = len(table.samplers) > 1
    drawn = [
        f"{SAMPLERS.get(key, title)}: {title}"
        if several and SAMPLERS.get(key) not in title
        else title
        for key, title in table.samplers.items()
    ]
    return [
        (
            f"Measured on {counts} samples of each row against their own reconstructions, or as "
            "what is said of a column has it.",
            False,
        ),
        (f"Samples: {'; '.join(drawn)}.", False),
        (f"What is relative to the data is so to {on}.", False),
    ]


def _counts(counts: tuple[int, ...]) -> str:
    """`2,000`, or `64 or 2,000` where rows differ."""
    return " or ".join(f"{count:,}" for count in counts)


def _reasons(table: Table) -> list[str]:
    """Why cells are empty of a metric that their models define."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = [*table.rows, *table.references]
    for row in rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if isinstance(cell, NotMeasured):
                reason = cell.reason.rstrip(".")
                found.setdefault((column.title, reason), []).append(row.label)
    there = sum(row.found > 0 for row in rows)
    return [
        f"{title} was not measured"
        + (f" ({', '.join(labels)})" if len(labels) < there else "")
        + f": {reason}."
        for (title, reason), labels in found.items()
    ]


def footnotes(table: Table) -> list[str]:
    """A line for each column: what it is, its unit, settings, source, package; before them what
    references are, and how samples and reconstructions are made."""
    notes = [f"{what}." for what in table.floors]
    notes += [f"Samples, {how}." for how in table.sampling]
    if table.reconstruction:
        notes.append(f"Reconstructions: {table.reconstruction}.")
    for column in table.columns:
        if not column.definition:  # nowhere measured: the note under the table says why
            continue
        settings = ", ".join(f"{key} {value}" for key, value in column.settings.items())
        plain = column.key != "ELBO" and settings
        notes.append(
            f"{column.title}: {column.definition}; {column.unit}"
            + (f" ({settings})" if plain else "")
            + (f"; {column.source}" if column.source else "")
            + (f"; computed by {column.package}" if column.package else "")
            + "."
        )
    return notes
