"""NLL, ELBO and bits per dimension against the closed forms of a linear-Gaussian model.

Probabilistic PCA (Tipping & Bishop 1999): z ~ N(0, I), x = W z + b + noise of deviation σ. Columns
of W are orthogonal, as PCA's are, so that the exact posterior is a diagonal Gaussian.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import special, stats

from evaluate.metrics.bits import bits_per_dimension
from evaluate.metrics.elbo import elbo, gaussian_log_likelihood
from evaluate.metrics.kl import kl
from evaluate.metrics.nll import LogMeanExp, log_normal, log_standard_normal

SHAPE, SIZE, LATENTS, SIGMA = (2, 5, 4), 40, 6, 0.3


@dataclass
class LinearGaussian:
    """The model, images of it, their exact log p(x) (scipy's) and posterior."""

    w: torch.Tensor
    b: torch.Tensor
    x: torch.Tensor
    log_p: torch.Tensor
    mean: torch.Tensor
    log_var: torch.Tensor

    def log_likelihood(self, z: torch.Tensor) -> torch.Tensor:
        """log p(x|z), B x D -> B, as evaluation takes it."""
        return gaussian_log_likelihood(self.x, self.decode(z), SIGMA)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return (z @ self.w.T + self.b).view(-1, *SHAPE)


@pytest.fixture(scope="module")
def model() -> LinearGaussian:
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(SIZE, LATENTS)))[0] * np.linspace(0.1, 2, LATENTS)
    b = rng.random(SIZE)
    x = rng.normal(size=(7, LATENTS)) @ w.T + b + SIGMA * rng.normal(size=(7, SIZE))
    log_p = stats.multivariate_normal(b, w @ w.T + SIGMA**2 * np.eye(SIZE)).logpdf(x)
    variance = 1 / (1 + (w**2).sum(0) / SIGMA**2)
    mean = (x - b) @ w / SIGMA**2 * variance
    arrays = (w, b, x.reshape(-1, *SHAPE), log_p, mean, np.log(np.tile(variance, (7, 1))))
    return LinearGaussian(*(torch.from_numpy(array) for array in arrays))


def log_weights(model: LinearGaussian, mean, log_var, samples: int) -> torch.Tensor:
    """S x B weights of draws from N(mean, exp(log_var))."""
    noise = torch.randn(
        samples, *mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    z = mean + (0.5 * log_var).exp() * noise
    likelihoods = torch.stack([model.log_likelihood(draw) for draw in z])
    return likelihoods + log_standard_normal(z) - log_normal(z, mean, log_var)


def estimate(weights: torch.Tensor, chunk: int) -> torch.Tensor:
    seen = LogMeanExp()
    for part in weights.split(chunk):
        seen.add(part)
    assert seen.count == len(weights)
    return seen.value


def test_densities_are_scipys() -> None:
    rng = np.random.default_rng(0)
    z, mean, log_var = (torch.from_numpy(rng.normal(size=s)) for s in ((3, 4, 5), (4, 5), (4, 5)))
    got = log_normal(z, mean, log_var)
    assert got.shape == (3, 4)
    want = stats.norm(mean.numpy(), np.exp(log_var.numpy() / 2)).logpdf(z.numpy()).sum(-1)
    np.testing.assert_allclose(got, want, rtol=1e-13)
    np.testing.assert_allclose(
        log_standard_normal(z), stats.norm.logpdf(z.numpy()).sum(-1), rtol=1e-13
    )
    assert log_normal(z.float(), mean.float(), log_var.float()).dtype == torch.float64


def test_exact_posterior_gives_the_exact_value_whatever_is_drawn(model) -> None:
    """p(x|z) p(z) / q(z|x) is p(x) at every z."""
    weights = log_weights(model, model.mean, model.log_var, 5)
    for samples in (1, 5):
        got = estimate(weights[:samples], 2)
        np.testing.assert_allclose(got, model.log_p, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("shift", "width"), [(0.0, 1.6), (0.3, 1.3)])
def test_another_posterior_is_within_its_standard_error(model, shift, width) -> None:
    deviation = (0.5 * model.log_var).exp()
    mean, log_var = model.mean + shift * deviation, model.log_var + 2 * math.log(width)
    weights = log_weights(model, mean, log_var, 5_000)
    got = estimate(weights, 1000)
    relative = (weights - got).exp()
    error = relative.std(0) / math.sqrt(len(weights))
    assert error.max() < 0.06
    assert ((got - model.log_p).abs() < 4 * error).all()
    assert (got - model.log_p).abs().max() > 1e-6, "not the exact posterior"
    # One draw has the ELBO as its mean, which lies below: more draws, a tighter bound.
    bound = weights.mean(0)
    assert (bound + 0.1 < got).all()


def test_elbo_is_the_closed_form_within_its_standard_error(model) -> None:
    mean, log_var = model.mean * 0.9, model.log_var + 0.4
    noise = torch.randn(
        5000, *mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    z = mean + (0.5 * log_var).exp() * noise
    likelihoods = torch.stack([model.log_likelihood(draw) for draw in z])
    divergence = kl(mean, log_var)
    got = elbo(likelihoods, divergence)
    spread = (log_var.exp() * model.w.pow(2).sum(0)).sum(1)
    want = model.log_likelihood(mean) - spread / (2 * SIGMA**2) - divergence
    error = likelihoods.std(0) / math.sqrt(len(z))
    assert error.max() < 0.1 and ((got - want).abs() < 4 * error).all()
    assert (want < model.log_p).all()
    # With the exact posterior the bound is tight.
    exact = (model.log_var.exp() * model.w.pow(2).sum(0)).sum(1) / (2 * SIGMA**2)
    tight = model.log_likelihood(model.mean) - exact - kl(model.mean, model.log_var)
    np.testing.assert_allclose(tight, model.log_p, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_change_nothing(model, chunk: int) -> None:
    weights = log_weights(model, model.mean, model.log_var + 1, 500)
    want = special.logsumexp(weights.numpy(), 0) - math.log(500)
    np.testing.assert_allclose(estimate(weights, chunk), want, rtol=1e-14)


def test_extreme_weights() -> None:
    column = torch.tensor([-1e5, -1e5 + math.log(3), -2e5], dtype=torch.float64)
    weights = torch.stack([column, -column, torch.tensor([-torch.inf, -torch.inf, -1e5])], 1)
    # By hand: (1 + 3 + 0) / 3; the largest of three; a third of the only one.
    want = [-1e5 + math.log(4 / 3), 2e5 - math.log(3), -1e5 - math.log(3)]
    for chunk in (1, 2, 3):
        assert estimate(weights, chunk).tolist() == pytest.approx(want, rel=1e-15)
    assert estimate(torch.full((4, 2), -torch.inf), 2).tolist() == [-math.inf] * 2


def test_float32_weights_are_summed_in_float64() -> None:
    """The mean of 10,000 ones and 0.001: float32 has two digits of its logarithm."""
    weights = torch.zeros(10_001, 1)
    weights[0] = math.log(1e-3)
    got = estimate(weights, 100)
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(math.log((10_000 + 1e-3) / 10_001), rel=1e-6)


def test_nothing_added() -> None:
    with pytest.raises(ValueError, match="no log weights"):
        _ = LogMeanExp().value


def test_bits_per_dimension(model) -> None:
    # The uniform density over [0, 1] has log p = 0: 8 bits; and every nat is 1 / (D ln 2).
    assert bits_per_dimension(torch.tensor([0.0]), 784).tolist() == [8.0]
    assert bits_per_dimension(torch.tensor([784 * math.log(256)]), 784).item() == pytest.approx(0)
    # An 8-bit value is a cell of 1/256 of the unit interval, so has its mass times the density:
    # the mean code length of one is -log2 of that.
    mass = model.log_p - SIZE * math.log(256)
    want = -mass / math.log(2) / SIZE
    np.testing.assert_allclose(bits_per_dimension(model.log_p, SIZE), want, rtol=1e-12)
