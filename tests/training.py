"""What tests of training share."""

from pathlib import Path

import torch

from study.datasets import open_dataset
from study.runs import load_run
from tests import made
from train.run import load_trained, train_run


def train(tmp_path: Path, data: Path, kind: str = "VAE", out: str = "out", **changes) -> Path:
    """Train a made run on the set `tiny` of `data`; returns its directory."""
    run = load_run(made.run_file(tmp_path, kind, **changes))
    train_run(run, open_dataset(data, "tiny"), tmp_path / out)
    return tmp_path / out


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The state dict of a trained run."""
    return load_trained(out)[1].state_dict()
