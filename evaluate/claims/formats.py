"""Verdicts as a table in CSV, Markdown and LaTeX, as data, and counted in a line."""

from collections import Counter
from typing import Any, get_args

import pandas as pd

from evaluate.claims.judge import Judged, Verdict
from evaluate.latex import escape

WORDS: tuple[Judged, ...] = get_args(Judged)
FORMAT = 1
# Lines of a LaTeX float; more are cut into several.
LINES = 12
COLUMNS = ["id", "claim", "source", "ours", "verdict"]


def counts(verdicts: list[Verdict]) -> dict[str, int]:
    """How many there are of each word, none left out."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {word: found[word] for word in WORDS}


def summary_line(verdicts: list[Verdict]) -> str:
    """`24 claims: 3 reproduced, 2 not reproduced, ...`."""
    told = ", ".join(f"{count} {word}" for word, count in counts(verdicts).items())
    return f"{len(verdicts)} claim{'s' if len(verdicts) != 1 else ''}: {told}"


def to_data(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """What `verdicts.json` holds of each: what `evaluate.claims.check` compares."""
    return [
        {
            "claim": v.claim.id,
            "kind": v.claim.kind,
            "text": v.claim.text,
            "place": v.claim.place,
            "basis": v.claim.basis,
            "verdict": v.verdict,
            "source": v.theirs,
            "ours": v.ours,
            "why": v.why,
            "command": v.command,
        }
        for v in verdicts
    ]


def to_csv(verdicts: list[Verdict]) -> str:
    """A line a claim, everything in full."""
    return pd.DataFrame(to_data(verdicts)).to_csv(index=False, lineterminator="\n")


def _lines(verdicts: list[Verdict]) -> list[list[str]]:
    return [[v.claim.id, v.claim.text, v.theirs, v.ours or "–", v.verdict] for v in verdicts]


def to_markdown(verdicts: list[Verdict]) -> str:
    """The table for people: what the source says beside what came out."""
    lines = [
        [cell.replace("|", "\\|") for cell in [*line[:-1], f"**{line[-1]}**"]]
        for line in _lines(verdicts)
    ]
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.to_markdown(index=False, disable_numparse=True) + "\n"


def to_latex(verdicts: list[Verdict], study: str, title: str) -> str:
    """The table as floats for `\\input`, each of at most `LINES` lines."""
    lines = _lines(verdicts)
    parts = [lines[start : start + LINES] for start in range(0, len(lines), LINES)]
    head = r"% Made by evaluate/claims from verdicts.json. Needs \usepackage{booktabs,graphicx}."
    floats = [head]
    for number, part in enumerate(parts, 1):
        of = f", part {number} of {len(parts)}" if len(parts) > 1 else ""
        label = f"tab:{study}-verdicts" + (f"-{number}" if number > 1 else "")
        caption = f"{title}. Claims and verdicts{of}: {summary_line(verdicts)}."
        floats += [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            r"\smallskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            _tabular(part) + "}",
            r"\end{table}",
        ]
    return "\n".join(floats) + "\n"


def _tabular(lines: list[list[str]]) -> str:
    frame = pd.DataFrame(lines, columns=COLUMNS).drop(columns="id").map(escape)
    # Wide columns of text break their lines; the whole is shrunk to the page's width.
    align = r"p{6.2cm}p{2.4cm}p{4cm}l"
    return frame.style.hide(axis="index").to_latex(hrules=True, column_format=align).strip()
