"""`python -m evaluate`'s help, its list of metrics, and the page made of them."""

import subprocess
import sys

import pytest

from evaluate.__main__ import main
from evaluate.metrics_page import changed_by, every_metric, metrics_page
from evaluate.registry import GENERATION_KEYS, KEYS
from study.errors import run_command
from study.provenance import ROOT


def evaluate(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evaluate", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_committed_page_is_the_registrys() -> None:
    """If this fails: python -m evaluate metrics --page > evaluate/METRICS.md"""
    assert (ROOT / "evaluate/METRICS.md").read_text() == metrics_page()


def test_page_has_every_metric_once() -> None:
    page = metrics_page()
    # The first backbone's column is `LPIPS`, whichever that is.
    for key in {*KEYS, *GENERATION_KEYS} - {"LPIPS (VGG)"}:
        assert page.count(f"### `{key}`\n") == 1, key
        metric = every_metric()[key]
        assert f"### `{key}`\n\n- title: {metric.heading}\n" in page
        assert metric.definition in page and metric.unit in page
        assert not metric.needs or f"- needs: {metric.needs}\n" in page


def test_what_changes_a_metric_is_found_out() -> None:
    found = changed_by()
    assert found["NLL"] == ["evaluation.likelihood", "evaluation.nll_samples"]
    assert found["bits/dim"] == ["evaluation.likelihood", "evaluation.elbo_samples"]
    assert found["coverage@t"] == ["evaluation.finite.threshold", "evaluation.finite.samples"]
    assert "evaluation.neighbours" in found["density (Inception)"]
    assert not {"MSE", "SSIM", "KL", "diversity"} & found.keys()


def test_help_and_list(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().out
    assert ended.value.code == 0
    # Wrapped between keys, never within one.
    for key in (*KEYS, *GENERATION_KEYS):
        assert key in told, key
    assert "diff RUN RUN" in told and "python -m evaluate prefetch" in told
    assert max(map(len, told.splitlines())) <= 100
    monkeypatch.setattr(sys, "argv", ["evaluate", "metrics"])
    assert main() == 0
    listed = capsys.readouterr().out
    assert listed != metrics_page()
    without = "\n".join(" ".join(line.split()[:4]) for line in listed.splitlines())
    assert "- computed by: `piq`" in without and "`piq` 0." in listed
    monkeypatch.setattr(sys, "argv", ["evaluate", "metrics", "--page"])
    assert main() == 0
    assert capsys.readouterr().out == metrics_page()


@pytest.mark.parametrize("word", ["diff", "metrics", "prefetch"])
def test_a_directory_of_such_a_name_is_reached_by_its_path(word: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", f"./{word}"])
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"evaluate: {word}: no run directory")


def test_a_wrong_word_costs_a_line() -> None:
    done = evaluate("diff", "one")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "RUN_B" in done.stderr
