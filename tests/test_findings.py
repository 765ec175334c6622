"""Signs of collapse: what is called one, and what is not."""

from pathlib import Path

import numpy as np
import pytest

from evaluate.findings import collapses
from evaluate.run import evaluate_run
from study.datasets import open_dataset
from tests.training import train


def record(*cells: dict) -> dict:
    return {"rows": [{"label": "VAE", "cells": list(cells)}]}


def cell(mean_image_mse: float | None = 0.07, diversity: float = 0.9, **means: float) -> dict:
    samples = {"title": "z ~ N(0, I)", "metrics": {"diversity": {"mean": diversity}}}
    return {
        "metrics": {key: {"mean": mean} for key, mean in ({"MSE": 0.01} | means).items()},
        "mean_image_mse": mean_image_mse,
        "generations": {"prior": samples},
    }


def test_a_sound_model_shows_no_sign() -> None:
    assert collapses(record(cell(MSE=0.06, KL=20.0, perplexity=40.0))) == []
    assert collapses(record({"metrics": None})) == []
    # A record of before there were such numbers.
    assert collapses(record({"metrics": {"MSE": {"mean": 0.5}}})) == []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (cell(MSE=0.126), "explain 0.0% of the pixels' variance (less than 10%): an MSE of 0.126"),
        (cell(MSE=0.068), "explain 2.9% of the pixels' variance"),
        (cell(KL=0.011), "posterior collapse: its KL is 0.011 nats an image"),
        (cell(perplexity=1.0), "codebook collapse: a perplexity of 1 codes"),
        (cell(diversity=0.02), "its samples (z ~ N(0, I)) hardly differ: a diversity of 0.02"),
    ],
)
def test_each_sign_is_told_with_its_number(made: dict, said: str) -> None:
    (line,) = collapses(record(made))
    assert line.startswith("VAE: ") and said in line


def test_of_several_seeds_it_says_how_many() -> None:
    (line,) = collapses(record(cell(), cell(KL=0.01), cell(KL=0.02), {"metrics": None}))
    assert "0.01 nats" in line and line.endswith(", in 2 of 3 seeds.")


def test_the_mean_images_error_is_what_it_says(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, "AE")
    entry = evaluate_run(out, data)
    x = np.array(open_dataset(data, "tiny").images("eval")) / 255.0
    assert entry["mean_image_mse"] == pytest.approx(((x - x.mean(0)) ** 2).mean(), rel=1e-6)
