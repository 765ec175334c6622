"""What measuring will cost: all that is asked for is timed, fits are cut off, nothing stays."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluate.estimate import EvaluationEstimate, estimate_evaluation
from evaluate.run import evaluate_run
from study.datasets import open_dataset
from study.runs import load_run
from tests import made
from tests.training import train
from train.latents import fitted, learning, pixelcnn
from train.latents.fitted import maf
from train.latents.learning import Recipe, fit, watched

LABELS = {"labels": np.arange(70) % 3}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `data/` with the set `tiny` and labels, so that there is a classifier to train."""
    folder = tmp_path_factory.mktemp("labelled")
    made.dataset(folder, beside=LABELS)
    return folder


def estimated(folder: Path, data: Path, kind: str, **evaluation: Any) -> EvaluationEstimate:
    file = made.run_file(folder, kind, evaluation=made.EVALUATION | evaluation)
    return estimate_evaluation(load_run(file), open_dataset(data, "tiny"), "eval", None)


# Seconds that a step of a fit takes at least.
STEP = 0.005


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    step = learning._step

    def slow(*of: Any) -> None:
        time.sleep(STEP)
        step(*of)

    monkeypatch.setattr(learning, "_step", slow)


def parts(found: EvaluationEstimate) -> dict[str, bool]:
    """Which parts take any time."""
    names = ("reconstructions", "samplers", "samples", "distances", "classifier")
    return {name: getattr(found, name) > 0 for name in names}


@pytest.mark.usefixtures("slow_steps")
def test_all_that_is_asked_for(tmp_path: Path, labelled: Path) -> None:
    before = sorted(labelled.rglob("*"))
    found = estimated(
        tmp_path,
        labelled,
        "VAE",
        samplers=["prior", "mixture", "maf"],
        features=["classifier"],
        nll_samples=5,
        finite={"samples": 30, "threshold": 3.0, "distance_samples": 10},
    )
    assert all(parts(found).values())
    # All steps of a flow's recipe, of which only a few were taken.
    assert found.samplers > fitted._MAF.steps * STEP
    assert sum(getattr(found, name) for name in parts(found)) == pytest.approx(
        found.seconds + found.classifier
    )
    assert sorted(labelled.rglob("*")) == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.usefixtures("slow_steps")
def test_codes_with_a_pixelcnn(tmp_path: Path, labelled: Path) -> None:
    found = estimated(tmp_path, labelled, "VQVAE", samplers=["uniform", "pixelcnn"])
    assert parts(found) == {name: name != "classifier" for name in parts(found)}
    assert found.samplers > pixelcnn._RECIPE.steps * STEP
    assert found.missing == []


def test_files_are_what_an_evaluation_leaves(tmp_path: Path, data: Path) -> None:
    asked = {"evaluation": made.EVALUATION | {"samplers": ["prior", "gaussian"]}}
    found = estimated(tmp_path, data, "VAE", **asked["evaluation"])
    out = train(tmp_path, data, "VAE", **asked)
    evaluate_run(out, data)
    left = sum((out / name).stat().st_size for name in ("per_image.npz", "pictures.npz"))
    with np.load(out / "per_image.npz") as arrays:
        heads = 300 * (len(arrays.files) + 9)
    assert found.files == pytest.approx(left, abs=heads)


def test_what_cannot_be_measured_is_said(tmp_path: Path, data: Path) -> None:
    found = estimated(tmp_path, data, "AE", features=["classifier"])
    assert "FID (classifier)" in found.missing
    assert found.classifier == 0


def test_a_watched_fit_is_cut_off_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 110.0, 118.0])  # begun, before the second step, after the fifth
    monkeypatch.setattr(learning.time, "perf_counter", lambda: next(times))
    steps = []
    network = torch.nn.Linear(1, 1)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        steps.append(len(rows))
        return network(rows).square().sum(1)

    with watched(5) as watch:
        fit(network, loss, torch.ones(20, 1), Recipe(steps=1000, batch=3, rate=0.1), "a test")
    assert (watch.spent, watch.whole) == (18.0, 2.0 * 1000)
    assert steps[1:] == [3, 3, 3, 3, 3]  # the first look is at what is held out


def test_a_fit_that_nobody_watches_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "_MAF", dataclasses.replace(fitted._MAF, steps=30, batch=16))
    z = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    z[:, 1] += z[:, 0] ** 2  # no Gaussian, which the flow begins as
    before = maf(z).draw(5)
    with watched(2):
        cut = maf(z).draw(5)
    assert torch.equal(maf(z).draw(5), before)
    assert not torch.equal(cut, before)
