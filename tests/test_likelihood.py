"""The NLL by importance sampling, through a model's latents, against a closed form.

Probabilistic PCA: z ~ N(0, I), x = W z + b + noise of deviation σ, the columns of W orthogonal, so
that the exact posterior is a diagonal Gaussian.
"""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from evaluate.likelihood import log_likelihood, negative_log_likelihood
from evaluate.measure import Meter
from evaluate.perceptual import Perceptual
from study.schema import BernoulliLikelihood, Evaluation, GaussianLikelihood
from train.latents.base import Encoded, GaussianLatents, Latents
from train.latents.draws import IMPORTANCE, Noise

SHAPE, SIZE, LATENTS, SIGMA, COUNT = (1, 8, 5), 40, 4, 0.3, 9
GAUSSIAN = GaussianLikelihood(name="gaussian", sigma=SIGMA)


class LinearGaussian(nn.Module):
    """As Pythae's VAE is used: `encoder` and `decoder` that give dictionaries. Its posterior is the
    exact one, wider by `width` and moved by `shift` deviations."""

    def __init__(self, width: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.w = np.linalg.qr(rng.normal(size=(SIZE, LATENTS)))[0] * np.linspace(0.2, 2, LATENTS)
        self.b = rng.random(SIZE)
        variance = 1 / (1 + (self.w**2).sum(0) / SIGMA**2)
        self.deviation = np.sqrt(variance) * width
        self.shift = shift * np.sqrt(variance)
        # Images -> the posterior's mean.
        self.inverse = self.w / SIGMA**2 * variance
        self.weight = nn.Parameter(torch.from_numpy(self.w).float())

    def encoder(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        flat = x.flatten(1).double().numpy() - self.b
        mean = torch.from_numpy(flat @ self.inverse + self.shift).float()
        log_var = torch.from_numpy(2 * np.log(self.deviation)).float()
        return {"embedding": mean, "log_covariance": log_var.expand(len(x), -1)}

    def decoder(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        x_hat = z @ self.weight.detach().T + torch.from_numpy(self.b).float()
        return {"reconstruction": x_hat.view(-1, *SHAPE)}

    def log_p(self, x: torch.Tensor) -> np.ndarray:
        """The exact log p(x), scipy's."""
        covariance = self.w @ self.w.T + SIGMA**2 * np.eye(SIZE)
        return stats.multivariate_normal(self.b, covariance).logpdf(x.flatten(1).numpy())


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    """Images that the model makes."""
    rng, model = np.random.default_rng(1), LinearGaussian()
    z = rng.normal(size=(COUNT, LATENTS))
    images = z @ model.w.T + model.b + SIGMA * rng.normal(size=(COUNT, SIZE))
    return torch.from_numpy(images).float().view(-1, *SHAPE)


def nll(
    model: LinearGaussian, x: torch.Tensor, samples: int, at_once: int = 256, batch: int = COUNT
) -> np.ndarray:
    latents, noise = GaussianLatents(model), Noise(5, IMPORTANCE)
    with torch.inference_mode():
        parts = [
            negative_log_likelihood(
                latents, part, latents.encode(part).posterior, GAUSSIAN, samples, noise, at_once
            )
            for part in x.split(batch)
        ]
    assert all(part.dtype == torch.float64 for part in parts)
    return torch.cat(parts).numpy()


def weights(model: LinearGaussian, x: torch.Tensor, samples: int) -> np.ndarray:
    """log p(x|z) p(z) / q(z|x) of the same draws by scipy, in float64: COUNT x samples."""
    noise = Noise(5, IMPORTANCE).draw(COUNT, samples, LATENTS).double().numpy()
    mean = (x.flatten(1).double().numpy() - model.b) @ model.inverse + model.shift
    z = mean[:, None] + model.deviation * noise
    residual = x.flatten(1).double().numpy()[:, None] - z @ model.w.T - model.b
    likelihood = stats.norm(0, SIGMA).logpdf(residual).sum(-1)
    prior = stats.norm.logpdf(z).sum(-1)
    return likelihood + prior - stats.norm(mean[:, None], model.deviation).logpdf(z).sum(-1)


@pytest.mark.parametrize("samples", [1, 4])
def test_with_the_exact_posterior_any_draw_gives_the_exact_value(
    x: torch.Tensor, samples: int
) -> None:
    model = LinearGaussian()
    np.testing.assert_allclose(nll(model, x, samples), -model.log_p(x), rtol=1e-4)


def test_another_posterior_comes_within_its_standard_error(x: torch.Tensor) -> None:
    model, samples = LinearGaussian(width=1.4, shift=0.3), 2000
    got, log_weights = nll(model, x, samples), weights(model, x, samples)
    want = math.log(samples) - special.logsumexp(log_weights, 1)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    error = np.exp(log_weights + got[:, None]).std(1, ddof=1) / math.sqrt(samples)
    assert 0.005 < error.max() < 0.05
    assert (np.abs(got + model.log_p(x)) < 4 * error).all()
    # One draw has the ELBO for its mean: far off, and never below in the mean.
    assert (-log_weights.mean(1) > got + 0.1).all()


@pytest.mark.parametrize("at_once", [1, 7, 64])
@pytest.mark.parametrize("batch", [1, 4])
def test_neither_portions_nor_batches_change_it(x: torch.Tensor, at_once: int, batch: int) -> None:
    model = LinearGaussian(width=1.4, shift=0.3)
    whole = nll(model, x, 50)
    np.testing.assert_allclose(nll(model, x, 50, at_once, batch), whole, rtol=1e-6)
    assert np.abs(nll(model, x.flip(0), 50)[::-1] - whole).max() > 1e-3, "draws go by the order"


def test_draws_are_decoded_so_many_at_a_time(x: torch.Tensor) -> None:
    model, seen = LinearGaussian(), []
    decoder = model.decoder
    model.decoder = lambda z: seen.append(len(z)) or decoder(z)
    nll(model, x[:2], 10, at_once=4)
    assert seen == [4, 4, 2, 4, 4, 2]


def test_a_bernoulli_likelihood() -> None:
    rng = np.random.default_rng(0)
    target, x_hat = rng.random((3, *SHAPE)), rng.uniform(0.05, 0.95, (3, *SHAPE))
    want = (target * np.log(x_hat) + (1 - target) * np.log1p(-x_hat)).sum((1, 2, 3))
    how = BernoulliLikelihood(name="bernoulli")
    got = log_likelihood(how, torch.from_numpy(target), torch.from_numpy(x_hat))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("samples", [0, 3])
def test_it_is_measured_of_data_where_it_is_asked_for(x: torch.Tensor, samples: int) -> None:
    how = Evaluation(lpips=[], likelihood=GAUSSIAN, nll_samples=samples)
    images = x.abs().clamp(0, 1).repeat_interleave(4, -1).repeat_interleave(4, -2)

    class Wide(GaussianLatents):
        """Of images that SSIM has room on."""

        def encode(self, x: torch.Tensor):
            return super().encode(x[..., ::4, ::4])

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            x_hat = super().decode(z).clamp(0, 1)
            return x_hat.repeat_interleave(4, -1).repeat_interleave(4, -2)

    meter = Meter(Wide(LinearGaussian()), how, Perceptual(), 5)
    with torch.inference_mode():
        of_data, of_samples = meter.measure(images, data=True), meter.measure(images)
    assert ("NLL" in of_data.values) == (samples > 0)
    assert "ELBO" in of_data.values and "NLL" not in of_samples.values


def test_without_a_posterior_there_is_none(x: torch.Tensor) -> None:
    images = x.abs().clamp(0, 1).repeat_interleave(4, -1).repeat_interleave(4, -2)

    class Same(Latents):
        def encode(self, x: torch.Tensor):
            return Encoded(x)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return z

    meter = Meter(Same(None), Evaluation(lpips=[], nll_samples=3), Perceptual(), 5)
    assert not {"NLL", "ELBO", "KL"} & meter.measure(images, data=True).values.keys()
