"""What was learned from a study: `results/<study>/LEARNED.md`, written by hand, on its page.

It is plain Markdown without a title, is never written by a command, and takes every number from
the study's record, so that the prose does not go stale:

- `{claim}`, the id of a claim: our number, as the verdicts have it; `{claim:verdict}`: the verdict;
  `{claim:source}`: what the source says.
- `{row/metric}`, a row of the study (or a reference row: `data`, `pca-10`) and a metric's key: the
  cell of its reconstructions as tables print it, `0.341 ± 0.022` over seeds.
- `{row/sampler/metric}`: the same of its samples.
- `{row/metric:.0%}`: the mean over seeds alone, in one of Python's formats f, e, g and %.

What is known and was not measured is a dash. `{{` and `}}` are braces.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate.claims.judge import Verdict
from evaluate.formats import UNDEFINED, format_cell
from evaluate.registry import GENERATION_KEYS, KEYS
from evaluate.rows import SAMPLERS, Measured, columns, generated, reconstructed
from evaluate.tables import TableCell, measured_cell
from study.errors import StudyError
from study.pythae_json import suggest

FILE = "LEARNED.md"
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
# Thousands with commas, decimals. No width, no fill: this is prose.
_FORM = re.compile(r",?(\.\d{1,2})?[f%eg]")


def read_learned(folder: Path, record: dict[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The folder's LEARNED.md, filled in; empty where there is none.

    StudyError, naming file, line and placeholder, where one is of nothing that is known.
    """
    path = folder / FILE
    if not path.is_file():
        return ""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise StudyError(f"{path}: not UTF-8 text") from None
    return fill(text, record, verdicts, path).strip()


def fill(text: str, record: dict[str, Any], verdicts: Sequence[Verdict], where: Path | str) -> str:
    """`text` with every placeholder filled; `where` is named in errors."""
    claims = {verdict.claim.id: verdict for verdict in verdicts}

    def filled(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        at = f"{where}:{text.count(chr(10), 0, match.start()) + 1}"
        if match[1] is None:
            raise StudyError(f"{at}: a single '{match[0]}'; a brace is written {match[0] * 2}")
        what, _, form = match[1].partition(":")
        try:
            return _of_row(record, what, form) if "/" in what else _of_claim(claims, what, form)
        except _Unknown as error:
            raise StudyError(f"{at}: '{match[0]}': {error}") from None

    return _PLACEHOLDER.sub(filled, text)


class _Unknown(Exception):
    """Why a placeholder is of nothing."""


def _of_claim(claims: dict[str, Verdict], name: str, form: str) -> str:
    if name not in claims:
        hint = suggest(name, list(claims)) or _doubled(f"{name}{form and ':'}{form}")
        raise _Unknown(f"no claim of that id{hint}")
    verdict = claims[name]
    shown = {"": verdict.ours, "verdict": verdict.verdict, "source": verdict.theirs}
    if form not in shown:
        raise _Unknown(f"':{form}' is not one of :verdict, :source")
    return shown[form] or UNDEFINED


def _doubled(inside: str) -> str:
    """What to say where it may be no placeholder at all, as in `\\frac{1}{2}`."""
    return f" (braces that are meant as such are doubled: {{{{{inside}}}}})"


def _of_row(record: dict[str, Any], what: str, form: str) -> str:
    name, *between, key = what.split("/")
    if len(between) > 1:
        raise _Unknown("row/metric or row/sampler/metric is wanted")
    sampler = between[0] if between else None
    known = [*record["rows"], *record["references"]]
    names = [row["name"] for row in known]
    if name not in names:
        hint = suggest(name, names) or _doubled(f"{what}{form and ':'}{form}")
        raise _Unknown(f"no row '{name}'{hint}; there are {', '.join(names)}")
    kind, keys = (generated, GENERATION_KEYS) if sampler else (reconstructed, KEYS)
    rows = kind(row for row in known if row["name"] == name)
    drawn = {row.sampler for row in rows}
    if sampler and sampler not in drawn | set(SAMPLERS):
        raise _Unknown(f"no sampler '{sampler}'; there are {', '.join(sorted(SAMPLERS))}")
    if key not in keys and not any(_has(row, key) for row in rows):
        raise _Unknown(f"no metric '{key}'{suggest(key, list(keys))}")
    row = next((row for row in rows if row.sampler == sampler), None)
    own = columns([row], [key]) if row else []
    cell = measured_cell(row, own[0]) if row and own else None
    return _shown(cell, form) if isinstance(cell, TableCell) else UNDEFINED


def _has(row: Measured, key: str) -> bool:
    return any(entry is not None and key in entry["metrics"] for entry in row.entries)


def _shown(cell: TableCell, form: str) -> str:
    if not form:
        return format_cell(cell)
    if not _FORM.fullmatch(form):
        raise _Unknown(f"':{form}' is no format of a number, as :.2f, :,.0f, :.2e, :.3g or :.0%")
    return format(cell.mean, form).replace("-", "−")
