"""Step for step beside stock Pythae: the same losses, of every term, on the same batches."""

from pathlib import Path
from typing import Any

import pytest
from pythae import models as pythae_models

from study.datasets import Dataset, open_dataset
from study.runs import Run, load_run
from tests import made
from tests.stock import train_stock
from train.run import train_run

KINDS = {
    "AE": made.MODELS["AE"],
    "VAE": made.MODELS["VAE"],
    "BetaVAE": made.MODELS["BetaVAE"],
    "VQVAE": made.MODELS["VQVAE"],
    "VQVAE, EMA": made.MODELS["VQVAE"] | {"use_ema": True},
    "VAEGAN": made.MODELS["VAEGAN"],
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """29 batches of 8 an epoch, the last of 7."""
    folder = tmp_path_factory.mktemp("several")
    made.dataset(folder, counts=(231, 30))
    return open_dataset(folder, "tiny")


def terms_of_steps(name: str, patch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Filled with the losses of each training step that a model of this class makes."""
    seen: list[dict[str, float]] = []
    cls = getattr(pythae_models, name)
    forward = cls.forward

    def hear(self: Any, inputs: Any, **told: Any) -> Any:
        output = forward(self, inputs, **told)
        # Upstream tries the model on a batch before training, and tells it of no epoch then.
        if self.training and "epoch" in told:
            seen.append({k: float(v) for k, v in output.items() if "loss" in k})
        return output

    patch.setattr(cls, "forward", hear)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_losses_equal_stock_pythaes_at_every_step(
    kind: str, tmp_path: Path, several: Dataset
) -> None:
    changes = {
        "model": KINDS[kind],
        "networks": {"name": "convnet28", "width": 2},
        "trainer": made.trainer(KINDS[kind], per_device_train_batch_size=8),
    }

    def made_run() -> Run:
        return load_run(made.run_file(tmp_path, **changes)).with_shape((1, 28, 28))

    with pytest.MonkeyPatch.context() as patch:
        got = terms_of_steps(kind.split(",")[0], patch)
        train_run(made_run(), several, tmp_path / "ours")
    with pytest.MonkeyPatch.context() as patch:
        want = terms_of_steps(kind.split(",")[0], patch)
        train_stock(made_run(), several, tmp_path / "stock")
    assert len(got) == len(want) == 58
    assert len({step["loss"] for step in want}) == 58
    for ours, stock in zip(got, want, strict=True):
        assert ours == pytest.approx(stock, rel=1e-6)


def test_another_learning_rate_is_seen(tmp_path: Path, several: Dataset) -> None:
    """That the comparison above can fail."""
    run = load_run(made.run_file(tmp_path)).with_shape((1, 28, 28))
    with pytest.MonkeyPatch.context() as patch:
        want = terms_of_steps("VAE", patch)
        train_stock(run, several, tmp_path / "stock")
    other = load_run(made.run_file(tmp_path), {"trainer.learning_rate": 1.01e-3})
    with pytest.MonkeyPatch.context() as patch:
        got = terms_of_steps("VAE", patch)
        train_run(other, several, tmp_path / "ours")
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    assert got[5] != pytest.approx(want[5], rel=1e-6)
