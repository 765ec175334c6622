"""`benchmarks/evaluate.py` in small, and the memory of evaluation."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluate import CASES, floor_of, random_lpips, run_config
from benchmarks.parts import write_run
from study.provenance import ROOT
from study.runs import load_run
from train.latents import latents_of
from train.models import build_model


def test_measures_ours_and_the_networks(tmp_path: Path) -> None:
    options = ["--cases", "vae", "--rounds", "2", "--batch-size", "4", "--width", "1"]
    options += ["--lpips", "alex", "--memory", "--no-cuda", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, "-m", "benchmarks.evaluate", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["cases"]["vae"]
    ours, floor = found["seconds"]["ours"], found["seconds"]["floor"]
    assert len(ours) == len(floor) == 2 and found["images"] == 4
    assert found["ratio"] == pytest.approx(np.divide(ours, floor).mean())
    assert "| vae |" in done.stdout and "at most 1.15 is wanted" in done.stdout


@pytest.mark.parametrize(("case", "decodings"), [("vae", 2), ("vqvae", 1)])
def test_floor_decodes_as_often_as_measuring_does(case: str, decodings: int, tmp_path) -> None:
    assert case in CASES
    run = load_run(write_run(tmp_path, run_config(case, 1, True))).with_shape((3, 64, 64))
    latents = latents_of(build_model(run).eval())
    net = random_lpips("alex", torch.device("cpu"))
    calls = {"encoder": 0, "decoder": 0, "trunk": 0}
    parts = {"encoder": latents.model.encoder, "decoder": latents.model.decoder, "trunk": net.net}
    for name, module in parts.items():

        def count(*_: object, name: str = name) -> None:
            calls[name] += 1

        module.register_forward_hook(count)
    floor_of(latents, net, [torch.rand(2, 3, 64, 64)] * 3)()
    assert calls == {"encoder": 3, "decoder": 3 * decodings, "trunk": 6}
