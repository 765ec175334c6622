"""What tests of training share."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from study.datasets import open_dataset
from study.runs import load_run
from tests import made
from train.history import read_history
from train.run import load_trained, train_run


def train(tmp_path: Path, data: Path, kind: str = "VAE", out: str = "out", **changes) -> Path:
    """Train a made run on the set `tiny` of `data`; returns its directory."""
    run = load_run(made.run_file(tmp_path, kind, **changes))
    train_run(run, open_dataset(data, "tiny"), tmp_path / out)
    return tmp_path / out


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the condition holds, as long as the process lives."""
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def weights(out: Path) -> dict[str, torch.Tensor]:
    """The state dict of a trained run."""
    return load_trained(out)[1].state_dict()


def trainer_state(out: Path) -> dict:
    """What the last checkpoint of a run holds of its trainer."""
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]["trainer"]


def without_seconds(out: Path) -> list[dict]:
    """The lines of a run's history, but for the time that each took."""
    lines = read_history(out / "history.jsonl")
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def cut(file: Path) -> None:
    """Take away the end of a file."""
    file.write_bytes(file.read_bytes()[:-200])
