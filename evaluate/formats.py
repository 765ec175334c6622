"""A table as CSV and Markdown, and the words under it; LaTeX has a module of its own."""

import math
from typing import Any

import pandas as pd

from evaluate.rows import SAMPLERS
from evaluate.tables import NotMeasured, Table, TableCell

UNDEFINED = "–"
MISSING = ""


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


def to_csv(table: Table) -> str:
    """Numbers in full: model, seeds, then mean and sd of each metric; no number is empty.

    The last columns say what was measured on: split, images, what is missing of the data set and,
    of generations, the number of samples.
    """
    images = ", ".join(str(count) for count in table.images)
    on: dict[str, Any] = {"split": table.split, "images": images, "subset": table.subset}
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
        (f"Measured on {counts} samples of each row against their own reconstructions.", False),
        (f"Samples: {'; '.join(drawn)}.", False),
        (f"What is relative to the data is so to {on}.", False),
    ]


def _counts(counts: tuple[int, ...]) -> str:
    """`2,000`, or `64 or 2,000` where rows differ."""
    return " or ".join(f"{count:,}" for count in counts)


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
        f"{title} was not measured"
        + (f" ({', '.join(labels)})" if len(labels) < there else "")
        + f": {reason}."
        for (title, reason), labels in found.items()
    ]


def footnotes(table: Table) -> list[str]:
    """A line for each column: what it is, its unit, settings, package; before them how samples
    and reconstructions are made."""
    notes = [f"Samples, {how}." for how in table.sampling]
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
            + (f"; computed by {column.package}" if column.package else "")
            + "."
        )
    return notes
