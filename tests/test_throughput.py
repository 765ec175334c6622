"""`benchmarks/train.py` in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.train import bars
from study.provenance import ROOT


def test_measures_ours_stock_and_bare(tmp_path: Path) -> None:
    """VAEGAN: the one with three optimizers, whose floor is written by hand."""
    options = ["--cases", "mnist-32-vaegan", "--images", "256", "--rounds", "2"]
    options += ["--set", "networks.width=4", "--no-cuda", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, "-m", "benchmarks.train", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    case = found["cases"]["mnist-32-vaegan"]
    assert case["steps of a turn"] == 1 and case["GFLOP/image"] > 0
    assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in case["rounds"].values())
    for pair, ratio in case["ratios"].items():
        over, under = (case["rounds"][rival] for rival in pair.split("/"))
        # Within rounds: the median of two is their mean.
        assert ratio == pytest.approx((over[0] / under[0] + over[1] / under[1]) / 2)
    assert "| mnist-32-vaegan |" in done.stdout and "networks.width=4" in done.stdout
    assert [bar["bar"] for bar in found["bars"]] == [0.98]


def test_bars() -> None:
    ratios = {"ours/bare": 0.98, "ours/stock": 1.2}
    found = bars({"small": {"ratios": ratios}, "celeba64-128": {"ratios": ratios}}, gpu=True)
    verdicts = {(bar["case"], bar["bar"]): bar["met"] for bar in found}
    assert verdicts == {
        ("small", 0.97): True,
        ("small", 0.98): True,
        ("celeba64-128", 0.98): True,
        ("small", 10.0): False,
        ("celeba64-128", 3.0): False,
    }
    assert len(bars({"small": {"ratios": ratios}}, gpu=False)) == 2
