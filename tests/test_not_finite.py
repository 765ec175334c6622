"""NaN and infinity: where they were, and that no checkpoint has them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pythae.models import BaseAE

from study.errors import RunFailed
from study.rundir import RunDirectory
from tests import made, made_pythae
from tests.training import train
from train.history import EpochTerms
from train.loader import epoch_order
from train.not_finite import refuses_nan
from train.trainer import EngineMixin

# Its rate is absurd from the second epoch on: 1e27.
TRAINER = made.run_config()["trainer"] | {
    "learning_rate": 1e-3,
    "scheduler_cls": "StepLR",
    "scheduler_params": {"step_size": 1, "gamma": 1e30},
}
ENGINE = {"checkpoint_every": {"steps": 1}}


def state_of(directory: RunDirectory) -> dict[str, Any]:
    return torch.load(directory.checkpoint, weights_only=True)["state"]["trainer"]


# Under bce torch refuses the reconstruction before there is a loss.
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_it_ends_the_run_with_one_line(loss: str, tmp_path: Path, data: Path) -> None:
    model = {"name": "VAEConfig", "latent_dim": 3, "reconstruction_loss": loss}
    changes = {"trainer": TRAINER, "model": model, "engine": ENGINE}
    message = r"the train [\w ]+ became .* in epoch 2, batch 1; .* names the images"
    with pytest.raises(RunFailed, match=message) as error:
        train(tmp_path, data, "VAE", **changes)
    assert error.value.status == 1
    directory = RunDirectory(tmp_path / "out")
    assert not directory.trained
    assert directory.failed()[0] == "train"
    report = json.loads(directory.not_finite.read_text())
    assert report["indices"] == [int(i) for i in epoch_order(3, 2, 70)[16:32]]
    assert report["not_finite"]
    # What is kept is from before.
    state = state_of(directory)
    assert (state["epoch"], state["step"]) == (2, 1)
    weights = state["model"]["model_state_dict"].values()
    assert all(bool(value.isfinite().all()) for value in weights)
    # Whoever goes on from there finds the same.
    with pytest.raises(RunFailed, match="in epoch 2, batch 1"):
        train(tmp_path, data, "VAE", **changes)


def test_in_evaluation(tmp_path: Path, data: Path) -> None:
    """One step with an absurd rate, on the epoch's only batch: its loss was finite."""
    trainer = TRAINER | {"learning_rate": 1e30, "per_device_train_batch_size": 70}
    with pytest.raises(RunFailed, match=r"the eval \w+ became \w+ .*in epoch 1, batch 0"):
        train(tmp_path, data, "AE", trainer=trainer)
    report = json.loads(RunDirectory(tmp_path / "out").not_finite.read_text())
    assert (report["split"], report["indices"]) == ("eval", list(range(16)))


def test_weights_that_are_not_finite_get_into_no_checkpoint(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step that spoiled them was finite."""
    one_step = EngineMixin.one_step

    def spoiling(self: Any, inputs: Any, epoch: int) -> None:
        one_step(self, inputs, epoch)
        if (epoch, self.step) == (1, 3):
            spoil(self.model)

    monkeypatch.setattr(EngineMixin, "one_step", spoiling)
    with pytest.raises(RunFailed, match=r"the train decoder\.\S+ became not finite in epoch 1"):
        train(tmp_path, data, "AE", engine=ENGINE)
    directory = RunDirectory(tmp_path / "out")
    assert state_of(directory)["step"] == 3
    report = json.loads(directory.not_finite.read_text())
    assert (report["batches"], list(report["not_finite"].values())) == ([3], ["not finite"])


def test_the_first_batch_and_what_of_it() -> None:
    terms = EpochTerms()
    inputs = {"data": torch.zeros(4, 1)}
    for step in range(300):
        value = torch.tensor(float("inf") if step in (200, 250) else 1.0)
        terms.add(inputs, {"loss": value, "reg_loss": torch.tensor(2.0), "z": torch.zeros(4, 2)})
        if step == 190:
            assert terms.not_finite() is None
    assert terms.not_finite() == (200, {"loss": "inf"})


def spoil(model: torch.nn.Module) -> None:
    with torch.no_grad():
        next(model.decoder.parameters())[0, 0] = torch.inf


def test_weights_at_the_end_become_no_final_model(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are they taken for the next epoch's, where the last batch spoiled them."""
    update = BaseAE.update

    def spoiling(self: BaseAE) -> None:
        update(self)
        spoil(self)

    monkeypatch.setattr(BaseAE, "update", spoiling)
    changes = {"trainer": TRAINER | {"keep_best_on_train": True, "num_epochs": 1}}
    with monkeypatch.context() as patch:
        patch.setattr(EngineMixin, "_evaluated", lambda self, epoch: {})
        with pytest.raises(RunFailed, match="became not finite in epoch 1, batch 4"):
            train(tmp_path, data, "AE", **changes)
    directory = RunDirectory(tmp_path / "out")
    assert not directory.trained
    report = json.loads(directory.not_finite.read_text())
    assert (report["epoch"], report["batches"]) == (1, [4])
    assert report["indices"] == [int(i) for i in epoch_order(3, 1, 70)[64:]]


@pytest.mark.parametrize("kind", ["PoincareVAE", "RHVAE"])
def test_what_torchs_distributions_refuse(kind: str, tmp_path: Path, data: Path) -> None:
    model = made_pythae.MODELS[kind]
    trainer = made.trainer(model) | {k: v for k, v in TRAINER.items() if "sched" in k}
    message = r"became .* in epoch 2, batch \d; a smaller learning rate"
    with pytest.raises(RunFailed, match=message) as error:
        train(tmp_path, data, model=model, trainer=trainer)
    assert "Error:" not in str(error.value)
    assert RunDirectory(tmp_path / "out").not_finite.is_file()


def test_errors_that_are_of_something_else_stay() -> None:
    assert refuses_nan(RuntimeError("all elements of input should be between 0 and 1"))
    assert refuses_nan(RuntimeError("CUDA error: device-side assert triggered"))
    assert not refuses_nan(RuntimeError("CUDA out of memory"))
    assert not refuses_nan(ValueError("too many values to unpack"))
