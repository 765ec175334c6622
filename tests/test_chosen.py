"""What `engine` asks of VAE's KL and of the best model, from a run file to what lies on disk."""

from pathlib import Path

import pytest

from evaluate.run import evaluate_run
from study.schema_training import CyclicWarmup
from tests import made
from tests.training import train
from train.history import read_history
from train.models.changed import kl_weight


def test_history_has_the_mean_weight_of_each_epoch(tmp_path: Path, data: Path) -> None:
    warmup = {"name": "cyclic", "epochs": 2.0, "cycles": 2, "rise": 0.5}
    trainer = made.trainer(made.MODELS["VAE"], num_epochs=5)
    out = train(tmp_path, data, "VAE", engine={"kl_warmup": warmup}, trainer=trainer)
    sizes = [16, 16, 16, 16, 6]
    for line in read_history(out / "history.jsonl"):
        done = [line["epoch"] - 1 + step / 5 for step in range(5)]
        weights = [kl_weight(CyclicWarmup(**warmup), t) for t in done]
        want = sum(n * weight for n, weight in zip(sizes, weights, strict=True)) / 70
        assert line["train"]["kl_weight"] == pytest.approx(want, rel=1e-9)
        assert "kl_weight" not in line["eval"]


@pytest.mark.parametrize("key", ["MSE", "SSIM"])
@pytest.mark.parametrize("kind", ["VAE", "VAEGAN", "VQVAE"])
def test_final_model_is_the_best_of_the_metric(kind, key, tmp_path: Path, data: Path) -> None:
    networks = {"networks": {"name": "convnet28", "width": 2}} if kind == "VAEGAN" else {}
    trainer = made.trainer(made.MODELS[kind], num_epochs=4)
    out = train(tmp_path, data, kind, engine={"select": key}, trainer=trainer, **networks)
    scores = [line["eval"][key] for line in read_history(out / "history.jsonl")]
    best = max(scores) if key == "SSIM" else min(scores)
    assert evaluate_run(out, data)["metrics"][key]["mean"] == pytest.approx(best, rel=1e-6)
