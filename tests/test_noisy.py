"""Latent noise and the biased MMD of several kernels, which Pythae lacks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pythae.models import AutoModel

from study.runs import load_run
from tests import made
from tests.training import train, weights
from train.models import build_model
from train.models.noisy import add_noise, rbf_mmd


def test_latent_noise_acts_in_training_only() -> None:
    z = torch.zeros(100_000, 1)
    torch.manual_seed(0)
    assert add_noise(z, 0.2, training=True).std().item() == pytest.approx(0.2, rel=0.02)
    assert torch.equal(add_noise(z, 0.2, training=False), z)


def test_mmd_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    b = torch.randn(6, 3, generator=generator, dtype=torch.float64) + 1
    sigmas = [0.5, 3.0]

    def k(u: torch.Tensor, v: torch.Tensor) -> float:
        return sum(float(torch.exp(-((u - v) ** 2).sum() / (2 * s * s))) for s in sigmas)

    def mean(p: torch.Tensor, q: torch.Tensor) -> float:
        return float(np.mean([[k(u, v) for v in q] for u in p]))

    want = mean(a, a) + mean(b, b) - 2 * mean(a, b)
    assert rbf_mmd(a, b, sigmas).item() == pytest.approx(want, abs=1e-12)
    assert rbf_mmd(a, a, sigmas).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("engine", [{"latent_noise": 0.2}, {"mmd_sigmas": [0.5, 1.0]}])
def test_engine_extras_change_training_and_save_as_pythaes(engine, tmp_path, data) -> None:
    plain = weights(train(tmp_path, data, "WAE_MMD", out="plain"))
    out = train(tmp_path, data, "WAE_MMD", out="extra", engine=engine)
    assert any(not torch.equal(plain[key], value) for key, value in weights(out).items())
    assert type(AutoModel.load_from_folder(str(out / "final_model"))).__name__ == "WAE_MMD"


def test_report_loss_in_pythaes_units(tmp_path: Path) -> None:
    """Mean squared error + 0.1 MMD², times 784 pixels, is squared error + 78.4 MMD²."""
    model = {"name": "WAE_MMD_Config", "latent_dim": 3, "reg_weight": 78.4}
    sigmas = [0.5, 1.0, 3.0, 5.0]
    file = made.run_file(tmp_path, "WAE_MMD", model=model, engine={"mmd_sigmas": sigmas})
    built = build_model(load_run(file).with_shape((1, 28, 28))).eval()
    x = torch.rand(8, 1, 28, 28)
    z = built.encoder(x).embedding
    prior = torch.randn_like(z)
    x_hat = built.decoder(z).reconstruction
    loss, _, _ = built.loss_function(x_hat, x, z, prior)
    report = (x - x_hat).pow(2).mean() + 0.1 * rbf_mmd(z, prior, sigmas)
    assert loss.item() == pytest.approx(784 * report.item(), rel=1e-5)
