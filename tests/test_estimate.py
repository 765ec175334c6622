"""`--estimate`: what it says follows from what it timed, and nothing is left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from study.datasets import open_dataset
from study.runs import load_run
from tests import made
from tests.training import train
from train.estimate import Estimate, estimate, peak_memory, scratch, spoken


@pytest.mark.parametrize("kind", ["VAE", "VAEGAN"])
def test_disk_is_what_the_run_will_leave(kind: str, tmp_path: Path, data: Path) -> None:
    changes = {"networks": {"name": "convnet28", "width": 2}}
    found = estimate(
        load_run(made.run_file(tmp_path, kind, **changes)),
        open_dataset(data, "tiny"),
        tmp_path / "runs" / "there" / "out",
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert (found.steps, found.eval_steps) == (5, 2)
    assert 0 < found.step < 10
    assert 0 < found.eval_step < 10
    assert found.gpu_memory is None
    out = train(tmp_path, data, kind, **changes)
    left = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    # The run's record and history are in the run directory alone.
    assert found.final == pytest.approx(left, abs=6000)
    other = train(tmp_path, data, kind, out="other", engine={"keep": "all"}, **changes)
    checkpoint = (other / "checkpoint.pt").stat().st_size
    assert found.checkpoint == pytest.approx(checkpoint, rel=0.05)


def test_the_command_prints_and_leaves_nothing(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "train", made.run_file(tmp_path), "--data", data]
    done = subprocess.run(
        [*command, "--out", out, "--estimate"], capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "machine",
        "time",
        "memory",
        "disk",
    ]
    assert done.stderr == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_seconds_of_a_run(tmp_path: Path) -> None:
    engine = {"checkpoint_every": {"epochs": 1}}
    run = load_run(made.run_file(tmp_path, engine=engine))
    made_up = {"run": run, "threads": 1, "where": "here", "memory": 1, "gpu_memory": None}
    sizes = {"checkpoint": 1, "final": 1}
    times = {"step": 0.1, "eval_step": 0.01, "write": 2.0}
    found = Estimate(steps=10, eval_steps=5, **made_up, **sizes, **times)
    assert found.seconds == pytest.approx(2 * (10 * 0.1 + 5 * 0.01) + 2 * 2.0)


def test_what_a_killed_one_left_is_removed_a_day_later(tmp_path: Path) -> None:
    for name, age in {"yesterdays": 25, "todays": 23}.items():
        left = tmp_path / f".estimate-{name}"
        (left / "out").mkdir(parents=True)
        os.utime(left, (0, time.time() - age * 3600))
    with scratch(tmp_path / "runs" / "out") as folder:
        assert folder.parent == tmp_path
        assert set(tmp_path.iterdir()) == {folder, tmp_path / ".estimate-todays"}
    assert [entry.name for entry in tmp_path.iterdir()] == [".estimate-todays"]


def test_memory_is_that_of_the_process_itself() -> None:
    code = "from train.estimate import peak_memory; print(peak_memory())"
    grown = np.ones(200 << 20, np.uint8)
    mine = peak_memory()
    assert mine > grown.nbytes
    command = [sys.executable, "-c", f"import numpy; numpy.ones(8 << 20); {code}"]
    child = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert 64 << 20 < child < mine


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.52, "1.5 s"), (70, "1 min 10 s"), (3599.6, "1 h 0 min"), (360_000, "100 h 0 min")],
)
def test_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
