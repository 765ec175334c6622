"""Latents of every Pythae model: what is reconstructed, what is drawn, where a KL is defined."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from pythae.trainers.trainer_utils import set_seed

from evaluate.latent_space import is_flat
from evaluate.run import evaluate_run
from study.datasets import open_dataset
from study.rundir import RunDirectory
from study.runs import parse_run
from tests import made, made_pythae
from train.latents import KINDS, latents_of
from train.latents.base import Sampler
from train.models import build_model
from train.run import train_run

# Where KL(q(z|x) || N(0, I)) is that of a Gaussian.
WITH_KL = {
    "VAE",
    "BetaVAE",
    "VAEGAN",
    "Adversarial_AE",
    "BetaTCVAE",
    "CIWAE",
    "DisentangledBetaVAE",
    "FactorVAE",
    "INFOVAE_MMD",
    "IWAE",
    "MIWAE",
    "MSSSIM_VAE",
    "PIWAE",
}


def model_of(kind: str, **changes: object) -> Any:
    model = made_pythae.MODELS[kind] | changes
    run = parse_run(made_pythae.run_config(kind, model=model), Path("run.json"))
    set_seed(4)
    return build_model(run.with_shape((1, 28, 28))).eval()


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(made.images(count, (1, 28, 28))).float() / 255


def sampler_of(model: Any) -> Sampler:
    x = images(10)
    return latents_of(model).samplers(lambda: iter([x]))[0]


@pytest.mark.parametrize("kind", made_pythae.MODELS)
def test_every_model_is_encoded_drawn_and_decoded(kind: str) -> None:
    model = model_of(kind)
    latents = latents_of(model)
    with torch.inference_mode():
        encoded = latents.encode(images(5))
        draws = [sampler_of(model).draw(7), sampler_of(model)]
        assert latents.decode(encoded.z).shape == (5, 1, 28, 28)
        # One sequence, whatever the batches.
        parts = torch.cat([draws[1].draw(3), draws[1].draw(4)])
        torch.testing.assert_close(parts, draws[0], rtol=1e-6, atol=1e-7)
        assert latents.decode(draws[0]).isfinite().all()
    assert (encoded.posterior is not None) == (kind in WITH_KL)


def test_dirac_posterior_has_no_kl() -> None:
    latents = latents_of(model_of("Adversarial_AE", deterministic_posterior=True))
    assert latents.encode(images(2)).posterior is None


@pytest.mark.parametrize(
    ("kind", "flat"), [("SVAE", False), ("PoincareVAE", False), ("VQVAE", False), ("VAMP", True)]
)
def test_flat_latents_are_vectors_of_a_plain_space(kind: str, flat: bool) -> None:
    assert is_flat(latents_of(model_of(kind)), (1, 28, 28)) == flat


def narrowed(kind: str, **changes: object) -> Any:
    """A model whose posterior is next to a point, so that Pythae's own forward shows which."""
    model = model_of(kind, **changes)
    one_value = hasattr(model.encoder, "log_concentration")
    last = model.encoder.log_concentration if one_value else model.encoder.log_var
    with torch.no_grad():
        last.weight.zero_()
        # On the sphere no narrower than Pythae's sampler can do in float32.
        last.bias.fill_(300.0 if kind == "SVAE" else -60.0)
        if kind == "PoincareVAE":
            model.encoder.embedding.weight.mul_(0.1)  # well inside the ball
    return model


POINTS = {
    **{kind: {} for kind in ("VAE", "SVAE", "PoincareVAE", "VAE_IAF", "VAE_LinNF", "VAMP")},
    "HVAE": {"eps_lf": 1e-7},
    "RHVAE": {"eps_lf": 1e-7},
}


@pytest.mark.parametrize("kind", POINTS)
def test_reconstruction_is_where_a_narrow_posterior_is(kind: str) -> None:
    model = narrowed(kind, **POINTS[kind])
    x = images(6)
    torch.manual_seed(1)
    want = model({"data": x})
    z = latents_of(model).encode(x).z
    torch.testing.assert_close(z, want.z, rtol=1e-3, atol=0.3 if kind == "SVAE" else 3e-3)
    assert (z - want.z).norm(dim=1).mean() < 0.5 * (z.roll(1, 0) - want.z).norm(dim=1).mean()


def test_sphere_is_covered_evenly() -> None:
    z = sampler_of(model_of("SVAE")).draw(20_000)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(20_000))
    # Archimedes: on the sphere in three dimensions each coordinate is uniform.
    for axis in z.T.numpy():
        assert scipy.stats.kstest(axis, "uniform", (-1, 2)).statistic < 0.015


def distances(model: Any, z: torch.Tensor) -> np.ndarray:
    """Hyperbolic distances from the origin, by Pythae."""
    return model.latent_manifold.dist(torch.zeros_like(z), z).numpy()


@pytest.mark.parametrize("curvature", [1.0, 0.3])
def test_wrapped_normal_is_pythaes_prior(curvature: float) -> None:
    model = model_of("PoincareVAE", curvature=curvature)
    z = sampler_of(model).draw(20_000)
    torch.manual_seed(0)
    prior = model.prior(model._pz_mu, model._pz_logvar.exp(), model.latent_manifold)
    theirs = prior.sample(torch.Size([20_000])).reshape(-1, 3)
    ours, want = distances(model, z), distances(model, theirs)
    assert scipy.stats.ks_2samp(ours, want).statistic < 0.02
    for axis, its in zip(z.T.numpy(), theirs.T.numpy(), strict=True):
        assert scipy.stats.ks_2samp(axis, its).statistic < 0.02


@pytest.mark.parametrize(("dim", "curvature"), [(2, 1.0), (3, 1.0), (5, 0.5)])
def test_riemannian_normal_has_pythaes_radius(dim: int, curvature: float) -> None:
    """Against the distribution function that Pythae's sampler does not use."""
    kind = "PoincareVAE, Riemannian"
    model = model_of(kind, latent_dim=dim, curvature=curvature)
    r = distances(model, sampler_of(model).draw(20_000))
    prior = model.prior(model._pz_mu, model._pz_logvar.exp(), model.latent_manifold)

    def cdf(values: np.ndarray) -> np.ndarray:
        return prior.radius.cdf(torch.from_numpy(values)).numpy().reshape(-1)

    assert scipy.stats.kstest(r, cdf).statistic < 0.015


def test_vamp_prior_is_the_mixture_of_its_loss() -> None:
    """By importance weights: E_z[N(z; 0, s²) / p(z)] is 1 where p is what z is drawn from."""
    model = model_of("VAMP")
    with torch.no_grad():
        model.encoder.embedding.weight.mul_(4)  # components apart from each other
        z = sampler_of(model).draw(40_000)
        log_p = model._log_p_z(z) - 1.5 * np.log(2 * np.pi)
        s = z.std(0)
        density = torch.distributions.Normal(z.mean(0), 0.7 * s)
        weights = (density.log_prob(z).sum(1) - log_p).exp()
    assert weights.mean().item() == pytest.approx(1, abs=0.02)
    assert 0.01 < weights.std() < 2


@pytest.mark.parametrize("kind", ["SVAE", "RHVAE", "VAMP", "FactorVAE", "RAE_L2"])
def test_evaluation_in_one_command(kind: str, tmp_path: Path) -> None:
    made.dataset(tmp_path / "data", counts=(20, 10))
    config = made_pythae.run_config(kind)
    run = parse_run(config, Path("run.json"))
    train_run(run, open_dataset(tmp_path / "data", "tiny"), tmp_path / "out")
    evaluate_run(tmp_path / "out", tmp_path / "data")
    entry = json.loads(RunDirectory(tmp_path / "out").metrics.read_text())["splits"]["eval"]
    assert {"MSE", "BCE", "SSIM", "GMSD"} <= entry["metrics"].keys()
    assert {"KL", "ELBO"} & entry["metrics"].keys() == (
        {"KL", "ELBO"} if kind in WITH_KL else set()
    )
    assert entry["generations"].keys() == {"prior"}


def test_no_kind_without_a_config() -> None:
    configs = {model["name"] for model in made_pythae.MODELS.values()}
    assert set(KINDS) <= configs
