"""A run that was stopped goes on to the very bits of the one that was not."""

from pathlib import Path

import pytest
import torch

from benchmarks.same_bits import unlike
from study.datasets import open_dataset
from study.errors import Stopped
from study.rundir import RunDirectory
from study.runs import load_run
from tests import made, made_pythae
from tests.training import cut, train, trainer_state, without_seconds
from train import saving
from train.checkpoint import Checkpoints
from train.run import train_run
from train.trainer import EngineMixin


def stop_at(patch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """The next training is asked to stop when it gets to that place, as by a signal."""
    pause = saving.Saving.pause

    def stopping(self: saving.Saving) -> None:
        if (self.trainer.epoch, self.trainer.step) == (epoch, step):
            self.trainer.stop.number = 15
        pause(self)

    patch.setattr(saving.Saving, "pause", stopping)


# In an epoch, between two epochs, and at the end of training, before the evaluation.
PLACES = [(1, 2), (2, 0), (2, 5)]


# What `engine` changes of a loss or of a draw, each with all that it may be combined with.
WARMUP = {"kl_warmup": {"name": "cyclic", "epochs": 0.7, "cycles": 2}, "free_bits": 0.1}
CHANGED = {
    "VAE, mean": ("VAE", {"reduction": "mean"}),
    "BetaVAE, std": ("BetaVAE", {"sampled_std": "exp_log_var"}),
    "VAE, all": ("VAE", {"reduction": "mean", "sampled_std": "exp_log_var"} | WARMUP),
}
PLAIN = {kind: (kind, {}) for kind in made_pythae.MODELS}


@pytest.mark.parametrize(("kind", "engine"), (PLAIN | CHANGED).values(), ids=PLAIN | CHANGED)
def test_every_model_goes_on_bit_for_bit(
    kind: str, engine: dict, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at three places: weights, optimizers and history are those of the run that was
    not."""
    model = made_pythae.MODELS[kind]
    networks = {"name": "convnet28", "width": 2}
    changes = {"model": model, "trainer": made.trainer(model), "networks": networks}
    changes["engine"] = {"keep": "all"} | engine
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
    assert not list(unlike(one, two))
    assert without_seconds(whole) == without_seconds(out)
    finals = [torch.load(d / "final_model/model.pt", weights_only=True) for d in (whole, out)]
    assert not list(unlike(*finals))


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
    assert not list(unlike(trainer_state(whole), trainer_state(tmp_path / "stopped")))
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
    assert not list(unlike(trainer_state(whole), trainer_state(out)))
    assert without_seconds(whole) == without_seconds(out)
