"""Tables in LaTeX: everything escaped, and the same numbers as in the other formats."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from evaluate.formats import to_csv, to_markdown
from evaluate.latex import escape, to_latex
from evaluate.tables import Table, build_table
from study.provenance import ROOT
from tests.made_record import TABLE, compared, entry, generated, record, reference

NASTY = (
    r"β-VAE_1 (50 % & #3 $5 {x} a~b 2^8 \n) ± σ ↑ ↓ – − x̂² 'it's' \"quoted\" `tick` <|> --set [a] *"
)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b % & # $ { }", r"a\_b \% \& \# \$ \{ \}"),
        ("\\", r"\textbackslash{}"),
        ("2^8 ~ z", r"2\textasciicircum{}8 $\sim$ z"),
        ("β-VAE (β = 0.5)", r"$\beta$-VAE ($\beta$ = 0.5)"),
        ("σ λ Σ Ω", r"$\sigma$ $\lambda$ $\Sigma$ $\Omega$"),
        ("−3 ± 2", r"$-$3 $\pm$ 2"),
        ("↑↓ –", r"$\uparrow$$\downarrow$ \textendash{}"),
        ("(x - x̂)²", r"(x - $\hat{x}$)$^2$"),
        ("q(z|x) < 1", r"q(z\textbar{}x) \textless{} 1"),
        ("--set", "-{}-set"),
        ("---", "-{}-{}-"),
        ("[1] *", "{[}1] {*}"),
        ("Poincaré\nGödel", "Poincaré Gödel"),
        ("e\u0301", "é"),
        ("数", r"\texttt{U+6570}"),
    ],
)
def test_text_is_escaped(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_nothing_special_is_left_bare() -> None:
    made = escape(NASTY)
    assert made.isascii()
    without = re.sub(r"\\[a-zA-Z]+\d*\{\}|\\[_%&#${}]|\$[^$]*\$|\{[\[*]?\}", "", made)
    assert not set(without) & set('\\_%&#${}~^|<>"`')


def numbers(text: str) -> list[str]:
    return re.findall(r"−?\d[\d.]*", text)


def grid(latex: str) -> list[list[str]]:
    """The cells of a LaTeX table that is not cut in pieces, head first."""
    lines = [line for line in latex.splitlines() if line.endswith(r" \\")]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split(" & ")] for line in lines]


def test_the_three_formats_show_the_same_numbers() -> None:
    seeds = [{"SSIM": entry("SSIM", v), "KL": entry("KL", 10 * v)} for v in (0.512, 0.6, 0.7)]
    made = record(("VAE_β & co", seeds), ("AE", [{"SSIM": entry("SSIM", 0.6)}, None, None]))
    table = build_table(made, TABLE)
    latex = grid(to_latex(table, "s", "S"))
    markdown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in to_markdown(table).splitlines()
        if line.startswith("|") and not line.startswith("|:")
    ]
    back = {r"$\pm$": "±", "$-$": "−", r"\textendash{}": "–", r"$\uparrow$": "↑", r"\_": "_"}
    back |= {r"\&": "&", r"$\beta$": "β"}
    for shown, plain in zip(latex, markdown, strict=True):
        for cell, text in zip(shown, plain, strict=True):
            for code, character in back.items():
                cell = cell.replace(code, character)
            assert cell == text
    first, second = csv.DictReader(io.StringIO(to_csv(table)))
    assert numbers(markdown[1][2]) == [f"{float(first[k]):.3f}" for k in ("SSIM", "SSIM sd")]
    assert f"{float(second['SSIM']):.4f}" == markdown[2][2] and markdown[2][3] == "–"


def test_caption_label_and_note() -> None:
    latex = to_latex(build_table(record(("A", [{"SSIM": entry("SSIM", 0.5)}])), TABLE), "s", "S_1")
    assert r"\caption{S\_1. T.}" in latex and r"\label{tab:s-t}" in latex
    assert "Measured on the eval split, 1,234 images. Not the whole data set: 1,234 of" in latex
    assert "One seed each" in latex and r"data\_range 1.0" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 3


def test_a_wide_table_is_cut_in_pieces_with_all_its_numbers() -> None:
    keys = ["SSIM", "KL", "MSE", "BCE", "GMSD", "ELBO"]
    metrics = {key: entry(key, 0.1 + n / 100) for n, key in enumerate(keys)}
    metrics |= {f"{key} (as published)": metrics[key] for key in keys[:3]}
    table = build_table(record(("A", [metrics])), TABLE | {"metrics": list(metrics)})
    latex = to_latex(table, "s", "S")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\toprule") == 2
    cells = [cell for line in grid(latex) if line[0] == "A" for cell in line[2:]]
    assert cells == [f"{metrics[key]['mean']:.4f}" for key in metrics]


def marked() -> Table:
    """A best, one that cannot be told from it, and a reference, of two metrics."""
    rows = [(label, [{"SSIM": entry("SSIM", v), "KL": entry("KL", 5.0)}]) for label, v in MODELS]
    made = record(*rows, comparisons=[compared("SSIM", "A & co", {"B": 0.5, "C": 0.01})])
    made["references"] = [reference("PCA_3", {"SSIM": entry("SSIM", 0.7, interval=[0.6, 0.8])})]
    return build_table(made, TABLE)


MODELS = (("A & co", 0.9), ("B", 0.8), ("C", 0.2))


def test_marks_and_references() -> None:
    latex = to_latex(marked(), "s", "S")
    assert [line[2] for line in grid(latex)[1:]] == [
        r"\textbf{0.9000}",
        r"0.8000$^\dagger$",
        "0.2000",
        r"0.70 {[}0.60, 0.80]",
    ]
    assert grid(latex)[1][0] == r"A \& co" and grid(latex)[4][:2] == [
        r"\emph{PCA\_3}",
        r"\textendash{}",
    ]
    lines = latex.splitlines()
    rules = [number for number, line in enumerate(lines) if line == r"\midrule"]
    assert len(rules) == 2 and lines[rules[1] + 1].startswith(r"\emph{PCA")
    assert lines[rules[1] - 1].startswith("C &")
    assert r"$^\dagger$ cannot be told from it: p $\geq$ 0.05" in latex


def test_cells_with_intervals_are_wide() -> None:
    keys = ["SSIM", "KL", "MSE", "BCE", "GMSD"]
    metrics = {key: entry(key, 0.5, interval=[0.4, 0.6]) for key in keys}
    latex = to_latex(build_table(record(("A", [metrics])), TABLE | {"metrics": keys}), "s", "S")
    assert latex.count(r"\begin{tabular}") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_pdflatex_sets_it(tmp_path) -> None:
    found = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("pdflatex has no booktabs")
    nasty = {"SSIM": entry("SSIM", 0.5) | {"title": NASTY, "definition": NASTY}}
    made = record((f"[{NASTY}", [nasty]), ("* second", [nasty]), title=NASTY)
    tables = [build_table(made, TABLE), build_table(generated(), TABLE | {"of": "generation"})]
    tables.append(marked())
    for number, table in enumerate(tables):
        (tmp_path / f"{number}.tex").write_text(to_latex(table, f"s{number}", NASTY))
    for path in ROOT.glob("results/*/*.tex"):
        shutil.copy(path, tmp_path / f"{path.parent.name}-{path.name}")
    # Each on pages of its own: LaTeX holds back only so many floats.
    inputs = "\n".join(
        rf"\input{{{path.stem}}}\clearpage" for path in sorted(tmp_path.glob("*.tex"))
    )
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\extrafloats{50}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")
