"""The sources' claims as data, and verdicts as tables, pages, pictures and a regression test."""

import csv
import io
import itertools
import json
import re
import shutil
import subprocess

import pytest

from evaluate.claims.check import compare, is_worse, read_verdicts
from evaluate.claims.comparable import obstacles
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
from evaluate.claims.judge import RULE, Verdict, judge
from evaluate.claims.page import overview, verdict_page, write_verdicts
from evaluate.claims.schema import (
    Order,
    Reference,
    Value,
    Word,
    read_reference,
    reference_path,
    rows_of,
)
from evaluate.record import read_record
from evaluate.registry import GENERATION_KEYS, KEYS
from study.errors import StudyError
from study.expansion import load_study
from study.overrides import flatten
from study.provenance import ROOT
from tests.made_claims import COMMAND, FULL, exists, order, reference, study, trend, value
from tests.test_latex import NASTY

FOLDER = ROOT / "results/reference"
FILES = sorted(FOLDER.glob("*.json"))
CONFIGURED = {path.stem: path for path in ROOT.glob("configs/studies/*.json")}
# The talk's two tables, as its slides have them.
TALK = ("BCE", "MSE", "KL", "ELBO", "LPIPS", "SSIM", "GMSD")
RECONSTRUCTION = {
    "beta_vae-beta0.5": "23.214 0.015 45.934 46.181 0.289 0.643 0.163",
    "beta_vae-beta1.0": "32.491 0.021 14.912 47.402 0.318 0.565 0.190",
    "beta_vae-beta4.0": "50.755 0.033 1.090 55.115 0.380 0.477 0.224",
    "vqvae_flat": "- 0.007 - - 0.260 0.687 0.155",
    "vaegan": "0.508 0.009 162.84 162.592 0.301 0.661 0.160",
}
GENERATION = {
    "beta_vae-beta0.5": "8.764 0.006 39.163 28.345 0.093 0.870 0.109",
    "beta_vae-beta1.0": "9.131 0.006 12.443 21.574 0.090 0.835 0.121",
    "beta_vae-beta4.0": "12.050 0.008 0.945 15.831 0.073 0.841 0.124",
    "vqvae_flat": "- 0.009 - - 0.154 0.801 0.113",
    "vaegan": "0.584 0.001 165.405 165.406 0.033 0.970 0.031",
}
SHAPES = {
    "NN valid": (2.2377, 3.2141),
    "coverage@t": (0.571, 0.437),
    "D_KL": (8.4022, 8.2702),
    "reconstruction bits": (519.8196, 607.9106),
}


def of(name: str) -> Reference:
    return read_reference(FOLDER / f"{name}.json")


# --- the references ------------------------------------------------------------------------------


def test_every_study_of_the_design_has_its_claims() -> None:
    names = ["celeba32", "celeba56", "celeba64", "denoising", "fashion", "gan", "mnist", "shapes"]
    assert [path.stem for path in FILES] == names
    assert set(CONFIGURED) <= set(names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_reference_names_metrics_and_rows_that_are_there(path) -> None:
    source = read_reference(path)
    for claim in source.claims:
        if isinstance(claim, Word):
            continue
        keys = [claim.metric, getattr(claim, "as_published", None)]
        keys += [over.metric] if (over := getattr(claim, "over", None)) else []
        known = KEYS if claim.sampler is None else GENERATION_KEYS
        assert set(filter(None, keys)) <= set(known), claim.id
        if isinstance(claim, Order):
            for point in claim.than:
                assert (point.sampler is None) == (claim.sampler is None), claim.id
    if path.stem not in CONFIGURED:
        return
    rows = load_study(CONFIGURED[path.stem]).rows()
    assert {row for claim in source.claims for row in rows_of(claim)} <= set(rows)
    for name, row in source.rows.items():
        ours = flatten(rows[name][0].run.resolved())
        assert set(row.settings) <= set(ours), f"{name}: a key of settings is misspelt"


@pytest.mark.parametrize("name", ["celeba32", "celeba64", "mnist"])
def test_a_study_without_a_budget_is_near_enough_to_its_source(name: str) -> None:
    """What its file says is what the source did: only then is every number judged."""
    source, loaded = of(name), load_study(CONFIGURED[name])
    made = {"split": loaded.split, "budget": None, "rows": []}
    train = source.measured.training_images or 50_000
    for row, cells in loaded.rows().items():
        config = cells[0].run.resolved()
        config["model"]["input_dim"] = [3, source.measured.image_size, source.measured.image_size]
        on = {"data": {"images": {"train": train}}, "config": config}
        made["rows"].append({"name": row, "label": row, "cells": [on]})
    assert obstacles(made, source, list(source.rows)) == []


@pytest.mark.parametrize(
    ("name", "basis", "rows"),
    [("celeba64", "stated", list(RECONSTRUCTION)), ("celeba32", "computed", None)],
)
def test_every_number_of_the_talks_tables_is_a_claim(name, basis, rows) -> None:
    rows = rows or [row for row in RECONSTRUCTION if row.startswith("beta")]
    values = [claim for claim in of(name).claims if isinstance(claim, Value)]
    found = {}
    for claim in values:
        assert claim.basis == basis
        key = (claim.sampler is not None, claim.row, claim.metric)
        assert key not in found
        found[key] = f"{claim.number:.{claim.decimals}f}"
        otherwise = f"{claim.metric} (as published)"
        expected = otherwise if claim.metric in ("BCE", "ELBO", "LPIPS") else None
        assert claim.as_published == expected
    wanted = {
        (generation, row, metric): number
        for generation, table in ((False, RECONSTRUCTION), (True, GENERATION))
        for row in rows
        for metric, number in zip(TALK, table[row].split(), strict=True)
        if number != "-"
    }
    assert found == wanted and len(wanted) == (64 if name == "celeba64" else 42)


def test_every_number_of_the_report_is_a_claim() -> None:
    values = {c.id: c for c in of("shapes").claims if isinstance(c, Value)}
    assert len(values) == 9
    for metric, numbers in SHAPES.items():
        for row, number in zip(("beta_vae-beta0.65", "wae_mmd"), numbers, strict=True):
            (claim,) = [c for c in values.values() if (c.row, c.metric) == (row, metric)]
            assert claim.number == number
            published = None if metric == "NN valid" else f"{metric} (as published)"
            assert claim.as_published == published
    rate = values["ae-information-rate"]
    assert (rate.number, rate.decimals, rate.row) == (12.9, 1, "wae_mmd")
    assert rate.as_published == "information rate (as published)"


def test_what_a_source_says_against_itself_is_two_claims() -> None:
    for name, one, two in (
        ("celeba64", "trend-generation-lpips", "trend-generation-lpips-table"),
        ("celeba32", "trend-generation-lpips", "trend-generation-lpips-table"),
        ("shapes", "vae-better-d-kl", "ae-better-d-kl"),
    ):
        claims = {claim.id: claim for claim in of(name).claims}
        assert claims[one].contradicts == two and claims[two].contradicts == one


def test_a_contradiction_is_decided_one_way_and_the_other() -> None:
    """On results that do what the talk's table says, its sentence does not come out."""
    source = of("celeba64")
    talk = {"image_size": 28, "training_images": 8000, "epochs": None, "split": "eval"}
    made = study(**{f"beta_vae-beta{beta}": [{"MSE": 0.1}] * 3 for beta in (0.5, "1.0", "4.0")})
    made["budget"] = None
    for row, mean in zip(made["rows"], (0.093, 0.090, 0.073), strict=True):
        for number, cell in enumerate(row["cells"]):
            lpips = {"LPIPS": {"mean": mean + number / 1e4}}
            cell["generations"] = {"prior": {"title": "z", "samples": 64, "metrics": lpips}}
    near = source.model_copy(update={"measured": source.measured.model_copy(update=talk)})
    words = {v.claim.id: v.verdict for v in judge(made, near, FULL)}
    assert words["trend-generation-lpips"] == "not reproduced"
    assert words["trend-generation-lpips-table"] == "reproduced"


def test_the_notes_have_a_range() -> None:
    claim = of("celeba56").claims[0]
    assert isinstance(claim, Value) and claim.within == (0.015, 0.018)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "values"}, "'values' is not one of 'value', 'trend'"),
        ({"numbr": 1.0}, "unknown key"),
        ({"number": "0.015"}, "number"),
        ({"decimals": None}, "number and decimals, or low and high"),
        ({"low": 0.1, "high": 0.2}, "number and decimals, or low and high"),
        ({"row": "d"}, "'d', which rows has not"),
        ({"contradicts": "x"}, "contradicts 'x'"),
        ({"text": "two\nlines"}, "text"),
    ],
)
def test_a_wrong_reference_is_one_line(change, message) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as caught:
        reference(value() | change)
    assert str(caught.value).startswith("made.json: ")


def test_claims_are_told_apart_by_their_ids() -> None:
    with pytest.raises(StudyError, match="two have the id 'v'"):
        reference(value(), value())


def test_a_reference_is_its_files(tmp_path) -> None:
    (tmp_path / "other.json").write_text((FOLDER / "fashion.json").read_text())
    with pytest.raises(StudyError, match="study: 'fashion' is wanted to be 'other'"):
        read_reference(tmp_path / "other.json")


def test_a_budget_of_a_study_has_the_studys_claims(tmp_path) -> None:
    small = {"study": "celeba64-small", "budget": "small"}
    assert reference_path(tmp_path, small) == tmp_path / "celeba64.json"
    assert reference_path(tmp_path, {"study": "a-small", "budget": None}).stem == "a-small"


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
    ]
    return record, reference(*claims)


def verdicts() -> list[Verdict]:
    record, source = made()
    return judge(record, source, COMMAND)


def test_a_summary_counts_every_word() -> None:
    assert list(counts(verdicts()).values()) == [1, 1, 1, 2, 1]
    assert summary_line(verdicts()) == (
        "6 claims: 1 reproduced, 1 not reproduced, 1 differs in definition, 2 cannot tell, 1 open"
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
    assert rows[0]["ours"] == "0.01500 (n = 1)" and rows[0]["source"] == "0.015"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines), "a | of a text is none"


def test_many_claims_are_cut_into_floats_that_hold_all_of_them() -> None:
    many = [v for v in verdicts() for _ in range(10)]
    latex = to_latex(many, "s", "S")
    assert latex.count(r"\begin{table}") == 4 and "part 4 of 4" in latex
    assert latex.count("& 0.01500 (n = 1) & reproduced") == 10 and len(many) > 3 * LINES
    assert latex.count(r"\label{tab:s-verdicts") == 4


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
    page = overview(references, judged, list(CONFIGURED))
    assert f"| [shapes-quick](shapes-quick/VERDICTS.md) | {len(shapes.claims)} |" in page
    for source in references:
        if source.study == "shapes":
            continue
        count = len(source.claims)
        assert f"| {source.study} (not run) | {count} | 0 | 0 | 0 | 0 | {count} |" in page
        assert all(claim.id in page for claim in source.claims)
    assert "write configs/studies/celeba56.json, then python" in page
    assert "write configs/studies/celeba32.json" not in page


COMMITTED = sorted(ROOT.glob("results/*/verdicts.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_verdicts_are_what_the_code_makes(path, tmp_path) -> None:
    record = read_record(path.parent / "runs.json")
    source = read_reference(reference_path(FOLDER, record))
    write_verdicts(record, source, tmp_path, record["command"])
    for made_again in tmp_path.iterdir():
        if made_again.suffix != ".png":
            committed = path.with_name(made_again.name).read_text()
            assert made_again.read_text() == committed, made_again.name


# --- a study as a regression test ----------------------------------------------------------------

BETTER = {
    "open": {"open", "cannot tell", "differs in definition", "reproduced"},
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
    record["rows"][0]["cells"][0]["metrics"]["MSE"]["mean"] = 0.5
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


def test_bounds_are_shown_as_they_are() -> None:
    source = reference(exists(above=0.8, below=1.25))
    (only,) = judge(study(a=[1.0]), source, COMMAND)
    assert only.theirs == "above 0.8 and below 1.25"
