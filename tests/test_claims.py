"""Verdicts as tables, pages, pictures and a regression test."""

import csv
import io
import itertools
import json
import re
import shutil
import subprocess

import pytest

from evaluate.claims.check import compare, is_worse, read_verdicts
from evaluate.claims.formats import (
    LINES,
    WORDS,
    counts,
    summary_line,
    to_csv,
    to_data,
    to_latex,
    to_markdown,
)
from evaluate.claims.judge import Verdict, judge
from evaluate.claims.page import overview, verdict_page, write_verdicts
from evaluate.claims.rule import RULE
from evaluate.claims.schema import (
    Reference,
    read_reference,
    reference_path,
)
from evaluate.record import read_record
from study.errors import StudyError
from study.provenance import ROOT
from tests.made_claims import (
    COMMAND,
    CONFIGURED,
    FILES,
    FOLDER,
    FULL,
    exists,
    figure,
    of,
    order,
    picture,
    reference,
    study,
    trend,
    value,
)
from tests.test_latex import NASTY

# --- formats -------------------------------------------------------------------------------------


def made() -> tuple[dict, Reference]:
    """A record and claims with a verdict of each word."""
    record = study(
        a=[{"MSE": 0.015, "BCE": 0.5, "BCE (as published)": 23.2}], b=[{"MSE": 0.03}], c=[0.1]
    )
    claims = [
        value(id="in"),
        value(0.5, 1, id="out", text=f"out | {NASTY}"),
        value(23.2, 1, id="as", metric="BCE", as_published="BCE (as published)"),
        trend(id="few", contradicts="order"),
        order(id="order", contradicts="few"),
        value(id="none", metric="LPIPS"),
        figure(id="shown", text="a figure"),
    ]
    record["figures"] = [picture("made_figure", "made_figure.png")]
    return record, reference(*claims)


def verdicts() -> list[Verdict]:
    record, source = made()
    return judge(record, source, COMMAND)


def test_a_summary_counts_every_word() -> None:
    assert list(counts(verdicts()).values()) == [1, 1, 1, 2, 1, 1]
    assert summary_line(verdicts()) == (
        "7 claims: 1 reproduced, 1 not reproduced, 1 differs in definition, 2 cannot tell, "
        "1 drawn, 1 open"
    )
    assert summary_line(verdicts()[:1]).startswith("1 claim: 1 reproduced, 0 not")


def test_the_formats_show_the_same_verdicts() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(verdicts()))))
    words = [row["verdict"] for row in rows]
    assert words == [v.verdict for v in verdicts()]
    lines = to_markdown(verdicts()).splitlines()[2:]
    assert [re.search(r"\*\*(.*)\*\* *\|$", line)[1] for line in lines] == words
    latex = [line for line in to_latex(verdicts(), "s", "S").splitlines() if line.endswith(r"\\")]
    assert [line.split(" & ")[-1].removesuffix(r" \\") for line in latex[1:]] == words
    assert rows[0]["ours"] == "0.01500 [0.01500, 0.01500] (n = 1)" and rows[0]["source"] == "0.015"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines), "a | of a text is none"


def test_many_claims_are_cut_into_floats_that_hold_all_of_them() -> None:
    many = [v for v in verdicts() for _ in range(10)]
    latex = to_latex(many, "s", "S")
    assert latex.count(r"\begin{table}") == 6 and "part 6 of 6" in latex
    assert latex.count("0.01500] (n = 1) & reproduced") == 10 and len(many) > 3 * LINES
    assert latex.count(r"\label{tab:s-verdicts") == 6


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_pdflatex_sets_it(tmp_path) -> None:
    found = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("pdflatex has no booktabs")
    (tmp_path / "made.tex").write_text(to_latex(verdicts(), "made", NASTY))
    names = ["made"]
    for path in FILES:
        opened = judge(None, read_reference(path), FULL)
        (tmp_path / f"{path.stem}.tex").write_text(to_latex(opened, path.stem, path.stem))
        names.append(path.stem)
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\extrafloats{50}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in log and "Overfull" not in log
    assert "Float too large" not in log


# --- the page ------------------------------------------------------------------------------------


def test_a_page_and_its_files(tmp_path) -> None:
    record, source = made()
    found = write_verdicts(record, source, tmp_path, COMMAND)
    assert found == judge(record, source, COMMAND)
    page = (tmp_path / "VERDICTS.md").read_text()
    for text in (summary_line(found), to_markdown(found).strip(), *RULE, "contradicts itself"):
        assert text in page
    for v in found:
        assert v.why in page and (v.command is None or v.command in page)
    for name in ("verdicts.csv", "verdicts.md", "verdicts.tex", "verdicts.json", "verdicts.png"):
        assert f"({name})" in page and (tmp_path / name).stat().st_size > 100
    assert (tmp_path / "verdicts.png").read_bytes()[:4] == b"\x89PNG"
    assert read_verdicts(tmp_path) == to_data(found)
    assert json.loads((tmp_path / "verdicts.json").read_text())["counts"] == counts(found)


def test_no_picture_is_left_where_there_is_no_number(tmp_path) -> None:
    record, source = made()
    write_verdicts(record, source, tmp_path, COMMAND)
    page = write_verdicts(study(a=[None]), source, tmp_path, COMMAND)
    assert {v.verdict for v in page} == {"open"}
    assert not (tmp_path / "verdicts.png").exists()
    assert "verdicts.png" not in (tmp_path / "VERDICTS.md").read_text()


def test_a_page_groups_claims_of_one_reason() -> None:
    source = reference(*(value(id=f"v{n}", metric="KL") for n in range(3)))
    page = verdict_page(judge(study(a=[0.1]), source, COMMAND), source, "T")
    assert page.count("KL is not measured") == 1 and "Of: v0, v1, v2." in page


def test_the_overview_leaves_no_study_out() -> None:
    references = [read_reference(path) for path in FILES]
    shapes = of("shapes")
    judged = {"shapes-quick": judge(study(a=[0.1]), shapes, FULL)}
    page = overview(references, judged, [name for name in CONFIGURED if name != "celeba56"])
    assert f"| [shapes-quick](shapes-quick/VERDICTS.md) | {len(shapes.claims)} |" in page
    for source in references:
        if source.study == "shapes":
            continue
        count = len(source.claims)
        assert f"| {source.study} (not run) | {count} | 0 | 0 | 0 | 0 | 0 | {count} |" in page
        assert f"(reference/{source.study}.json)" in page and source.claims[0].id in page
    assert "write configs/studies/celeba56.json, then python" in page
    assert "write configs/studies/celeba32.json" not in page


# The studies whose results are part of the project.
STUDIES = ("shapes", "mnist-small", "celeba64-small")


@pytest.mark.parametrize("name", STUDIES)
def test_the_projects_studies_have_their_verdicts_committed(name: str) -> None:
    """Of the claims that are in the reference now: not of those of another day."""
    folder = ROOT / "results" / name
    source = read_reference(reference_path(FOLDER, read_record(folder / "runs.json")))
    committed = [verdict["claim"] for verdict in read_verdicts(folder)]
    assert committed == [claim.id for claim in source.claims]


# --- a study as a regression test ----------------------------------------------------------------

BETTER = {
    # Of a claim that was open every verdict is its first: a finding.
    "open": set(WORDS),
    # A picture judges nothing: a measure in its place is the first, too.
    "drawn": set(WORDS) - {"open"},
    "cannot tell": {"cannot tell", "differs in definition", "reproduced"},
    "differs in definition": {"differs in definition", "reproduced"},
    "reproduced": {"reproduced"},
    "not reproduced": {"not reproduced", "differs in definition", "reproduced"},
}


@pytest.mark.parametrize(("before", "now"), list(itertools.product(WORDS, repeat=2)))
def test_what_is_worse_in_every_direction(before, now) -> None:
    assert is_worse(before, now) == (now not in BETTER[before])


def test_a_worse_verdict_is_found_and_told(tmp_path) -> None:
    record, source = made()
    committed = to_data(write_verdicts(record, source, tmp_path, COMMAND))
    assert compare(read_verdicts(tmp_path), judge(record, source, COMMAND)) == []
    record["rows"][0]["cells"][0]["metrics"]["MSE"] |= {"mean": 0.5, "interval": [0.4, 0.6]}
    worse = compare(committed, judge(record, source, COMMAND))
    assert [(w.claim, w.before, w.now) for w in worse] == [("in", "reproduced", "not reproduced")]
    assert str(worse[0]).startswith("in: reproduced before, not reproduced now (our interval")


def test_a_claim_that_vanished_is_worse_and_a_new_one_is_not() -> None:
    record, source = made()
    now = judge(record, source, COMMAND)
    (gone,) = compare(to_data(now), now[1:])
    assert gone.now is None and str(gone).endswith("no longer among the claims now")
    assert compare(to_data(now[1:]), now) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there are no committed verdicts"),
        ('{"format": 0}', "format 0, 1 is wanted"),
        ('{"format": 1}', "verdicts: a list is wanted"),
        ('{"format": 1, "verdicts": [{"claim": "a", "verdict": "yes"}]}', "verdicts.0: an object"),
    ],
)
def test_committed_verdicts_that_cannot_be_read_are_one_line(tmp_path, text, message) -> None:
    if text:
        (tmp_path / "verdicts.json").write_text(text)
    with pytest.raises(StudyError, match=re.escape(message)) as caught:
        read_verdicts(tmp_path)
    assert str(tmp_path / "verdicts.json") in str(caught.value)


def test_a_figure_that_is_drawn_no_more_is_worse() -> None:
    record, source = made()
    before = to_data(judge(record, source, COMMAND))
    del record["figures"]
    (worse,) = compare(before, judge(record, source, COMMAND))
    assert (worse.claim, worse.before, worse.now) == ("shown", "drawn", "open")


def test_bounds_are_shown_as_they_are() -> None:
    source = reference(exists(above=0.8, below=1.25))
    (only,) = judge(study(a=[1.0]), source, COMMAND)
    assert only.theirs == "said (taken as above 0.8 and below 1.25)"
