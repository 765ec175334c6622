"""Checkpoints: whole or not at all, of this run and no other, and enough to go on from."""

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from study.datasets import open_dataset
from study.errors import Stopped
from study.provenance import ROOT
from study.rundir import RunDirectory
from study.runs import load_run
from tests import made, made_pythae
from tests.training import train
from train import saving
from train.checkpoint import Checkpoints
from train.history import read_history
from train.run import train_run
from train.state import random_state, set_random_state
from train.trainer import EngineMixin

STATE = {"trainer": {"step": 3}, "weights": torch.arange(5.0)}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def test_the_one_before_is_kept(directory: RunDirectory) -> None:
    checkpoints = Checkpoints(directory, "digest")
    assert checkpoints.read() is None
    for step in (1, 2, 3):
        checkpoints.write({"step": step})
    assert checkpoints.read() == {"step": 3}
    assert torch.load(directory.checkpoint_before, weights_only=True)["state"] == {"step": 2}
    assert not list(directory.path.glob(".*"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def flip(file: Path) -> None:
    """One bit of a tensor's bytes."""
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
    content[info.header_offset + 30 + len(info.filename) + 64] ^= 1
    file.write_bytes(bytes(content))


def misplace(file: Path) -> None:
    """The end of the zip says that its list of names is longer than the file."""
    content = bytearray(file.read_bytes())
    end = content.rindex(b"PK\6\6")
    content[end + 40 : end + 48] = (1 << 40).to_bytes(8, "little")
    file.write_bytes(bytes(content))


def replace_by_a_bare_dict(file: Path) -> None:
    torch.save({"format": 1}, file)


def replace_by_another_runs(file: Path) -> None:
    torch.save({"format": 1, "run": "another", "state": {}}, file)


def replace_by_code(file: Path) -> None:
    torch.save({"format": 1, "run": "digest", "state": Path("x")}, file)


def replace_by_text(file: Path) -> None:
    file.write_text("not a checkpoint")


def replace_by_a_list(file: Path) -> None:
    torch.save([1, 2], file)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "cut short"),
        (flip, "a checksum is wrong"),
        (misplace, "no checkpoint"),
        (replace_by_a_bare_dict, "the checkpoint of another run"),
        (replace_by_another_runs, "the checkpoint of another run"),
        (replace_by_code, "no checkpoint that can be read"),
        (replace_by_text, "no checkpoint, or cut short"),
        (replace_by_a_list, "no checkpoint of this version"),
    ],
)
def test_bad_one_is_refused_and_the_one_before_is_used(
    damage, why: str, directory: RunDirectory, capsys: pytest.CaptureFixture
) -> None:
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write(STATE | {"age": "old"})
    checkpoints.write(STATE)
    damage(directory.checkpoint)
    found = checkpoints.read()
    assert found is not None
    assert found["age"] == "old"
    heard = capsys.readouterr().err
    assert heard.count("\n") == 1
    assert why in heard
    damage(directory.checkpoint_before)
    assert checkpoints.read() is None


def test_a_refused_one_takes_no_good_ones_place(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fallback the next writing is killed at its last moment: the good one is there."""
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write({"step": 1})
    checkpoints.write({"step": 2})
    cut(directory.checkpoint)
    assert checkpoints.read() == {"step": 1}
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == directory.checkpoint:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write({"step": 3})
    assert Checkpoints(directory, "digest").read() == {"step": 1}
    checkpoints.write({"step": 3})
    checkpoints.write({"step": 4})
    assert torch.load(directory.checkpoint_before, weights_only=True)["state"] == {"step": 3}


def test_failed_writing_leaves_the_last_one(directory: RunDirectory) -> None:
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write({"step": 1})
    with pytest.raises(Exception, match="pickle|local object"):  # the latter from Python 3.13 on
        checkpoints.write({"step": lambda: 2})
    assert checkpoints.read() == {"step": 1}
    assert [file.name for file in directory.path.iterdir()] == ["checkpoint.pt"]


def test_generators_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.standard_normal(), torch.randn(1).item()]

    # An odd count: numpy keeps the second of each pair of normals for the next call.
    draw()
    state = random_state()
    want = [draw() for _ in range(3)]
    set_random_state(state)
    assert [draw() for _ in range(3)] == want


def stop_at(patch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """The next training is asked to stop when it gets to that place, as by a signal."""
    pause = saving.Saving.pause

    def stopping(self: saving.Saving) -> None:
        if (self.trainer.epoch, self.trainer.step) == (epoch, step):
            self.trainer.stop.number = 15
        pause(self)

    patch.setattr(saving.Saving, "pause", stopping)


def without_seconds(out: Path) -> list[dict]:
    lines = read_history(out / "history.jsonl")
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def same(one: object, two: object) -> bool:
    """Whether two trees of containers, tensors and values are the same bits."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return torch.equal(one, two) if torch.is_tensor(one) else one == two


def trainer_state(out: Path) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)["state"]["trainer"]


# In an epoch, between two epochs, and at the end of training, before the evaluation.
PLACES = [(1, 2), (2, 0), (2, 5)]


@pytest.mark.parametrize("kind", made_pythae.MODELS)
def test_every_model_goes_on_bit_for_bit(
    kind: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at three places: weights, optimizers and history are those of the run that was
    not."""
    model = made_pythae.MODELS[kind]
    networks = {"name": "convnet28", "width": 2}
    changes = {"model": model, "trainer": made.trainer(model), "networks": networks}
    changes["engine"] = {"keep": "all"}
    whole = train(tmp_path, data, out="whole", **changes)
    run, dataset = load_run(made.run_file(tmp_path, **changes)), open_dataset(data, "tiny")
    out = tmp_path / "stopped"
    for place in PLACES:
        with monkeypatch.context() as patch:
            stop_at(patch, *place)
            with pytest.raises(Stopped):
                train_run(run, dataset, out)
    assert train_run(run, dataset, out)
    one, two = trainer_state(whole), trainer_state(out)
    assert same(one, two)
    assert without_seconds(whole) == without_seconds(out)
    finals = [torch.load(d / "final_model/model.pt", weights_only=True) for d in (whole, out)]
    assert same(*finals)


SCHEDULERS = {
    "MultiStepLR": {"milestones": [1, 2]},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 10.0},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "OneCycleLR": {"max_lr": 0.01, "total_steps": 9},
    "ExponentialLR": {"gamma": 0.5},
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers_go_on(
    scheduler: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"scheduler_cls": scheduler, "scheduler_params": SCHEDULERS[scheduler]}
    trainer = made.run_config()["trainer"] | config | {"num_epochs": 4}
    changes = {"trainer": trainer, "engine": {"keep": "all"}}
    whole = train(tmp_path, data, out="whole", **changes)
    run, dataset = load_run(made.run_file(tmp_path, **changes)), open_dataset(data, "tiny")
    for place in [(2, 1), (3, 0)]:
        with monkeypatch.context() as patch:
            stop_at(patch, *place)
            with pytest.raises(Stopped):
                train_run(run, dataset, tmp_path / "stopped")
    train_run(run, dataset, tmp_path / "stopped")
    rates = {line["learning_rate"] for line in without_seconds(whole)}
    assert len(rates) > 1
    assert same(trainer_state(whole), trainer_state(tmp_path / "stopped"))
    assert without_seconds(whole) == without_seconds(tmp_path / "stopped")


def test_what_changes_no_number_may_change_on_the_way(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(data, "tiny")
    with monkeypatch.context() as patch:
        stop_at(patch, 1, 3)
        with pytest.raises(Stopped):
            train_run(load_run(made.run_file(tmp_path)), dataset, tmp_path / "out")
    engine = {"keep": "best", "checkpoint_every": {"epochs": 1}}
    run = load_run(made.run_file(tmp_path, engine=engine))
    assert train_run(run, dataset, tmp_path / "out")
    directory = RunDirectory(tmp_path / "out")
    assert directory.read()["config"]["engine"]["keep"] == "best"
    assert len(directory.read()["resumed"]) == 1
    left = {entry.name for entry in directory.path.iterdir()}
    assert left == {"run.json", "history.jsonl", "final_model", "finished.json"}


def test_without_a_good_checkpoint_it_starts_from_the_beginning(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And says so; no epoch stands twice in the history."""
    whole = train(tmp_path, data, out="whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 2, 2)
        with pytest.raises(Stopped):
            train(tmp_path, data)
    cut(tmp_path / "out" / "checkpoint.pt")
    out = train(tmp_path, data)
    heard = capsys.readouterr().err
    assert "out: no checkpoint can be used; it starts from the beginning" in heard
    assert without_seconds(whole) == without_seconds(out)


def test_overwrite_lets_a_stopped_run_go_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job with --overwrite that is put back into the queue; another run it replaces."""
    run, dataset = load_run(made.run_file(tmp_path)), open_dataset(data, "tiny")
    for place in [(1, 2), (2, 1)]:
        with monkeypatch.context() as patch:
            stop_at(patch, *place)
            with pytest.raises(Stopped):
                train_run(run, dataset, tmp_path / "out", overwrite=True)
    assert len(RunDirectory(tmp_path / "out").read()["resumed"]) == 1
    other = load_run(made.run_file(tmp_path), seed=8)
    assert train_run(other, dataset, tmp_path / "out", overwrite=True)
    assert "resumed" not in RunDirectory(tmp_path / "out").read()


def full_disk(*ignored: object) -> None:
    raise OSError(28, "No space left on device", "checkpoint.pt")


def test_full_disk_does_not_end_a_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Neither a checkpoint nor a line of the history that cannot be written: the run ends as it
    would, all lines in its history."""
    whole = train(tmp_path, data, out="whole")
    monkeypatch.setattr(Checkpoints, "write", full_disk)
    monkeypatch.setattr(saving, "append_line", full_disk)
    out = train(tmp_path, data, engine={"checkpoint_every": {"epochs": 1}})
    heard = capsys.readouterr().err
    assert "checkpoint.pt: No space left on device); training goes on" in heard
    assert RunDirectory(out).trained
    assert without_seconds(whole) == without_seconds(out)


def test_full_disk_does_not_keep_a_run_from_stopping(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Checkpoints, "write", full_disk)
    stop_at(monkeypatch, 1, 2)
    with pytest.raises(Stopped):
        train(tmp_path, data)
    assert "No space left on device); the one before stays" in capsys.readouterr().err


def test_a_disk_that_is_really_full(directory: RunDirectory) -> None:
    """torch's own word for it becomes an OSError, and the checkpoint before is there."""
    write = """
import resource, signal, sys, torch
from pathlib import Path
from study.rundir import RunDirectory
from train.checkpoint import Checkpoints
checkpoints = Checkpoints(RunDirectory(Path(sys.argv[1])), "digest")
checkpoints.write({"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.write({"weights": torch.ones(1_000_000)})
except OSError as error:
    print(error.strerror)
print(checkpoints.read())
"""
    words = [sys.executable, "-c", write, str(directory.path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "File too large\n{'step': 1}\n"
    assert [file.name for file in directory.path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("kind", ["VAE", "VAEGAN"])
def test_evaluation_is_cut_off_and_made_again(
    kind: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first of two batches of evaluation, in the second epoch."""
    one_evaluation = EngineMixin.one_evaluation

    def stopping(self: EngineMixin, inputs: dict, epoch: int) -> None:
        one_evaluation(self, inputs, epoch)
        if epoch == 2:
            self.stop.number = 15

    networks = {"name": "convnet28", "width": 2}
    changes = {"engine": {"keep": "all"}, "networks": networks}
    whole = train(tmp_path, data, kind, out="whole", **changes)
    with monkeypatch.context() as patch:
        patch.setattr(EngineMixin, "one_evaluation", stopping)
        with pytest.raises(Stopped):
            train(tmp_path, data, kind, **changes)
    state = trainer_state(tmp_path / "out")
    assert (state["epoch"], state["step"]) == (2, 5)
    out = train(tmp_path, data, kind, **changes)
    assert same(trainer_state(whole), trainer_state(out))
    assert without_seconds(whole) == without_seconds(out)
