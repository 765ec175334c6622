"""Every kind of stop, of real processes: what is there afterwards, and that the run goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.same_bits import unlike
from study.datasets import open_dataset
from study.runs import load_run
from tests import made
from tests.reproducing import command, reproduce, write_study
from tests.training import trainer_state, wait_until, without_seconds
from train.run import train_run

# Steps enough for a signal to find it in the middle; a checkpoint now and then.
TRAINER = made.trainer(made.MODELS["VAE"], num_epochs=3, per_device_train_batch_size=4)
ENGINE = {"keep": "all", "checkpoint_every": {"steps": 70}}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, with 1,200 training images: 300 steps an epoch."""
    folder = tmp_path_factory.mktemp("many")
    made.dataset(folder, counts=(1200, 400))
    return folder


@pytest.fixture(scope="module")
def whole(many: Path) -> Path:
    """The run that nobody disturbed."""
    run = load_run(made.run_file(many, trainer=TRAINER, engine=ENGINE))
    train_run(run, open_dataset(many, "tiny"), many / "whole")
    return many / "whole"


def start(many: Path, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "train", many / "run.json", "--data", many, "--out", out]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)


def go_on(many: Path, out: Path) -> str:
    process = start(many, out)
    _, heard = process.communicate(timeout=120)
    assert process.returncode == 0, heard
    return heard


SIGNALS = [
    (signal.SIGTERM, 75, "train: stopped by SIGTERM; the same command goes on\n"),
    (signal.SIGUSR1, 75, "train: stopped by SIGUSR1; the same command goes on\n"),
    (signal.SIGINT, 130, "train: interrupted; the same command goes on\n"),
]


@pytest.mark.parametrize(("sent", "status", "said"), SIGNALS)
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(
    sent: signal.Signals, status: int, said: str, many: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(many, out)
    wait_until(lambda: len(lines(out)) >= 1, process)
    process.send_signal(sent)
    if sent != signal.SIGINT:  # of which a second one means that somebody will not wait
        process.send_signal(signal.SIGTERM)
    _, heard = process.communicate(timeout=60)
    assert (process.returncode, heard) == (status, said)
    state = trainer_state(out)
    assert (state["epoch"], state["step"]) >= (2, 0)
    assert not (out / "failure.json").exists()
    assert not list(tmp_path.glob(".*")), "the lock is gone"
    heard = go_on(many, out)
    assert f"goes on from epoch {state['epoch']}, step {state['step']}\n" in heard
    assert_same(whole, out)


def lines(out: Path) -> list[str]:
    history = out / "history.jsonl"
    return history.read_text().splitlines() if history.exists() else []


def assert_same(whole: Path, out: Path) -> None:
    """Weights, optimizers, generators and history are those of the run that nobody disturbed."""
    assert not list(unlike(trainer_state(whole), trainer_state(out)))
    assert without_seconds(whole) == without_seconds(out)
    assert (whole / "last_model.pt").read_bytes() == (out / "last_model.pt").read_bytes()


def test_sigkill_and_a_damaged_checkpoint(many: Path, whole: Path, tmp_path: Path) -> None:
    """Killed, its last checkpoint cut short as by a disk that lied: the one before is taken."""
    out = tmp_path / "out"
    process = start(many, out)
    wait_until((out / "checkpoint.previous.pt").exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    latest = out / "checkpoint.pt"
    if latest.exists():
        os.truncate(latest, latest.stat().st_size // 2)
    heard = go_on(many, out)
    assert "goes on from epoch" in heard
    assert_same(whole, out)
    assert len(json.loads((out / "run.json").read_text())["resumed"]) == 1


def test_a_signal_before_training_leaves_nothing_half_done(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(many, out)
    wait_until(lambda: caught(process.pid, signal.SIGUSR1), process)
    process.send_signal(signal.SIGUSR1)
    _, heard = process.communicate(timeout=60)
    assert (process.returncode, heard) == (75, SIGNALS[1][2])


def caught(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal (SigCgt in /proc)."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(
        next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16
    )
    return bool(mask >> (number - 1) & 1)


def test_reproduce_stops_and_goes_on(tmp_path: Path) -> None:
    """The study is stopped in its first run, with that status, and passes over nothing."""
    study = write_study(tmp_path, seeds=[0], set={"trainer.num_epochs": 20})
    words = command(study, tmp_path / "work")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    silent = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(words, env=environment, **silent)
    runs = tmp_path / "work" / "runs"
    wait_until(lambda: any(runs.rglob("history.jsonl")), process)
    process.send_signal(signal.SIGTERM)
    _, heard = process.communicate(timeout=60)
    assert process.returncode == 75
    assert heard.endswith("reproduce: stopped by SIGTERM; the same command goes on\n")
    assert "failed" not in heard
    [first] = runs.rglob("checkpoint.pt")
    assert not any(runs.rglob("failure.json"))
    assert "stopped" in reproduce(study, tmp_path / "work", "--status").stdout
    heard = reproduce(study, tmp_path / "work").stderr
    assert f"{first.parent}: goes on from epoch" in heard
