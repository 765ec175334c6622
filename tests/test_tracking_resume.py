"""A run that is stopped and goes on is one curve in wandb, whatever it was that ended it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.sync import sync
from study.expansion import load_study
from study.provenance import ROOT
from study.tracking import Tracker
from study.wandb_process import CLOSED
from tests import made
from tests.test_stops import wait_until
from tests.tracked import flat, inspect, job, logged, mirrored, of, write_study
from tests.wandb_server import Server, wandb_server
from train.history import read_history

EPOCHS = 5
TRAINER = made.trainer(made.MODELS["VAE"], num_epochs=EPOCHS, per_device_train_batch_size=4)
# `python -m train` as often as it is asked for, a process each; they share the imports.
# Each signals itself when it has logged the epoch that is named, as a cluster might.
TRAINING = """
import os, sys
import torch._dynamo  # which the first optimizer imports
from study.errors import run_command
from study.stopping import stoppable
from study.tracking import Tracker
import train.run
from train.__main__ import main
log = Tracker.log_epoch
for line in sys.stdin:
    last, number = map(int, line.split())
    def log_epoch(self, line):
        log(self, line)
        if line["epoch"] == last:
            os.kill(os.getpid(), number)
    Tracker.log_epoch = log_epoch
    if (child := os.fork()) == 0:
        with stoppable():
            run_command("train", main)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Training:
    """The processes that train one run offline."""

    def __init__(self, folder: Path, out: Path) -> None:
        made.dataset(folder)
        # Only a signal makes a checkpoint.
        engine = {"checkpoint_every": {"epochs": 1000}}
        file = made.run_file(folder, trainer=TRAINER, engine=engine)
        words = [sys.executable, "-c", TRAINING, file, "--data", folder, "--out", out]
        self.process = subprocess.Popen(
            [str(word) for word in words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        )

    def until(self, epoch: int, number: int) -> int:
        """Start, or go on, and be signalled after that epoch; the exit status."""
        self.process.stdin.write(f"{epoch} {number}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with wandb_server(tmp_path, monkeypatch) as found:
        yield found


def written(run: Path) -> bool:
    """Whether wandb has written the end of it."""
    return bool(list(run.glob("*.wandb"))) and bool(of(inspect(run), "exit"))


def epochs(run: Path) -> list[int]:
    return [item["epoch"] for item in mirrored(inspect(run))]


def test_an_offline_run_stopped_twice_and_killed_is_one_curve(
    tmp_path: Path, server: Server
) -> None:
    study, runs = load_study(write_study(tmp_path)), tmp_path / "runs"
    out = runs / "made" / "vae" / "seed-0"
    training = Training(tmp_path, out)
    try:
        assert training.until(2, signal.SIGUSR1) == 75
        assert training.until(4, signal.SIGKILL) == -signal.SIGKILL
        # Its mirror outlives it, and writes what it was given.
        wait_until(lambda: len(whole := logged(out)) == 2 and written(whole[1]), training.process)
        # What was logged after the checkpoint comes again.
        assert training.until(3, signal.SIGUSR1) == 75
        assert training.until(0, 0) == 0
    finally:
        training.process.kill()
        training.process.communicate()

    history = [flat(line) for line in read_history(out / "history.jsonl")]
    assert [line["epoch"] for line in history] == list(range(1, EPOCHS + 1))
    folders = logged(out)
    assert len({folder.name.split("-")[-1] for folder in folders}) == 1
    assert [epochs(folder) for folder in folders[:3]] == [[1, 2], [1, 2, 3, 4], [1, 2, 3]]
    assert [(folder / CLOSED).exists() for folder in folders] == [True, False, True, True]
    newest = inspect(folders[-1])
    assert mirrored(newest) == [pytest.approx(line, rel=1e-12) for line in history]

    assert sync(study, runs) == 0
    [run] = server.runs()
    sent = server.history(run)
    assert [line.pop("_step") for line in sent] == [line["epoch"] for line in history]
    assert sent == [pytest.approx(line, rel=1e-12) for line in history]
    assert all(list(folder.glob("*.wandb.synced")) for folder in folders)


@pytest.mark.usefixtures("fresh_tracker")
def test_an_online_run_that_goes_on_is_one_curve(tmp_path: Path, server: Server) -> None:
    """Without network in between, say: it is whole each time, and takes the first one's place."""
    for count in (3, 5):
        with Tracker(job(tmp_path, "online")) as tracker:
            for epoch in range(1, count + 1):
                tracker.log_epoch({"epoch": epoch, "train": {"loss": 1 / epoch}})
    wanted = [{"_step": e, "epoch": e, "train/loss": 1 / e} for e in range(1, 6)]
    assert server.history("made") == wanted
