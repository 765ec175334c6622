"""A table in LaTeX, for `\\input`: plain pdflatex with booktabs and graphicx sets it.

Every text is escaped to ASCII, but for accented Latin letters, which pdflatex reads as UTF-8.
"""

import re
import unicodedata

import pandas as pd

from evaluate.formats import Dress, cell_texts, footnotes, headings, measured_on
from evaluate.tables import Table, numbers, pieces

# More metrics than these side by side are too small to read in a column of text; with intervals
# in their cells fewer.
WIDE, WIDE_CELLS = 6, 4
_GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"


def _greek(letter: str) -> str:
    """Its command: the last word of its name in Unicode, which writes lambda without a b."""
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return rf"$\{name.capitalize() if letter.isupper() else name.lower()}$"


_AS_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    # These are other characters in LaTeX's default text fonts.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\char96{}",
    # After the end of a table's line these two are no text.
    "[": "{[}",
    "*": "{*}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "«": r"$\ll$",
    "»": r"$\gg$",
    "\N{NO-BREAK SPACE}": "~",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "÷": r"$\div$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∼": r"$\sim$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "‖": r"$\Vert$",
    "∥": r"$\Vert$",
    "√": r"$\surd$",
    "∑": r"$\sum$",
    **{digit: f"$^{number}$" for number, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{digit: f"$_{number}$" for number, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "½": r"$\frac{1}{2}$",
    **{letter: _greek(letter) for letter in _GREEK},
}
_COMBINED = {"\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot"}
_LETTER_WITH_MARK = re.compile(f"([A-Za-z])([{''.join(_COMBINED)}])")


def escape(text: str) -> str:
    """`text` so that pdflatex prints it as it reads; a character it lacks becomes its U+ code."""
    # Composed where Unicode has the letter (é), but x̂ stays two characters.
    parts = _LETTER_WITH_MARK.split(unicodedata.normalize("NFC", " ".join(text.split())))
    made = []
    for start in range(0, len(parts), 3):
        made.append("".join(_escape_character(c) for c in parts[start]))
        if start + 2 < len(parts):
            made.append(rf"$\{_COMBINED[parts[start + 2]]}{{{parts[start + 1]}}}$")
    # Two hyphens are not to become a dash.
    return re.sub("-(?=-)", "-{}", "".join(made))


def _escape_character(character: str) -> str:
    if character in _AS_LATEX:
        return _AS_LATEX[character]
    if character.isascii():
        return character if character.isprintable() else " "
    # Letters up to U+017F are in pdflatex's UTF-8 tables.
    if character.isalpha() and ord(character) < 0x180:
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


LATEX = Dress(
    escape,
    lambda text: rf"\textbf{{{escape(text)}}}",
    lambda text: rf"\emph{{{escape(text)}}}",
)


def _tabular(table: Table) -> str:
    # Not Styler's own escaping: it knows neither Greek nor arrows.
    frame = pd.DataFrame(cell_texts(table, LATEX), columns=list(map(escape, headings(table))))
    align = "l" + "r" * (len(frame.columns) - 1)
    made = frame.style.hide(axis="index").to_latex(hrules=True, column_format=align).strip()
    if table.references:
        lines = made.splitlines()
        # A line a row; references stand below a rule of their own.
        lines.insert(lines.index(r"\midrule") + 1 + len(table.rows), r"\midrule")
        made = "\n".join(lines)
    return "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n" + made + "}"


def to_latex(table: Table, study: str, title: str) -> str:
    """The table as a float; `study` goes into its label, `title` (the study's) into its caption.

    One with many metrics is cut in pieces, one under another; one that is wider than the line all
    the same is shrunk to it. Under it stand what it was measured on and what each column means.
    """
    most = WIDE_CELLS if any(cell.interval for cell in numbers(table)) else WIDE
    notes = [" ".join(text for text, _ in measured_on(table)), *footnotes(table)]
    return "\n".join(
        [
            r"% Made by evaluate/latex.py from runs.json. Needs \usepackage{booktabs,graphicx}.",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(title)}. {escape(table.title)}.}}",
            rf"\label{{tab:{study}-{table.name}}}",
            r"\smallskip",
            "",
            "\n\n\\medskip\n".join(_tabular(piece) for piece in pieces(table, most)),
            "",
            r"\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            "\\par\n".join(escape(note) for note in notes),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )
