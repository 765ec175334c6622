"""Metrics against independent implementations and closed forms, in float64."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from evaluate.metrics.bce import bce
from evaluate.metrics.elbo import bernoulli_log_likelihood, elbo, gaussian_log_likelihood
from evaluate.metrics.gmsd import gmsd
from evaluate.metrics.kl import kl
from evaluate.metrics.mse import mse
from evaluate.metrics.psnr import psnr
from evaluate.metrics.reconstruction import RECONSTRUCTION
from evaluate.metrics.ssim import ssim

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 56, 57)]


def pair(shape: tuple[int, int, int], count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(sum(shape))
    x = ndimage.gaussian_filter(rng.random((count, *shape)), (0, 0, 1.5, 1.5))
    x = (x - x.min()) / (x.max() - x.min())
    x_hat = np.clip(x + rng.normal(0, 0.1, x.shape), 0, 1)
    return torch.from_numpy(x), torch.from_numpy(x_hat)


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_equals_scikit_image(shape) -> None:
    x, x_hat = pair(shape)
    want = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, x_hat, strict=True)
    ]
    assert np.abs(ssim(x, x_hat).numpy() - want).max() < 1e-10


def numpy_gmsd(a: np.ndarray, b: np.ndarray) -> float:
    """Xue et al. 2014, section II, on H x W x 3 or H x W in [0, 1]: loops kept plain."""
    if a.ndim == 3:
        weights = [0.299, 0.587, 0.114]
        a, b = a @ weights, b @ weights
    height, width = a.shape

    def half(image: np.ndarray) -> np.ndarray:
        # Mean of 2 x 2 blocks; an odd last row or column is filled up with zeros.
        padded = np.zeros((height + height % 2, width + width % 2))
        padded[:height, :width] = image
        return sum(padded[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4

    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def gradient(image: np.ndarray) -> np.ndarray:
        gx = ndimage.correlate(image, prewitt, mode="constant")
        gy = ndimage.correlate(image, prewitt.T, mode="constant")
        return np.sqrt(gx**2 + gy**2)

    g, h = gradient(half(a)), gradient(half(b))
    t = 170 / 255**2
    return ((2 * g * h + t) / (g**2 + h**2 + t)).std()


@pytest.mark.parametrize("shape", SHAPES)
def test_gmsd_equals_numpy(shape) -> None:
    x, x_hat = pair(shape)
    want = []
    for a, b in zip(x.numpy(), x_hat.numpy(), strict=True):
        a, b = (a[0], b[0]) if len(a) == 1 else (a.transpose(1, 2, 0), b.transpose(1, 2, 0))
        want.append(numpy_gmsd(a, b))
    assert np.abs(gmsd(x, x_hat).numpy() - want).max() < 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_and_bce_against_numpy(shape) -> None:
    x, x_hat = pair(shape)
    a, b = x.numpy(), x_hat.numpy()
    with np.errstate(divide="ignore"):
        log_b, log_not_b = np.maximum(np.log(b), -100), np.maximum(np.log1p(-b), -100)
    for image in range(len(a)):
        assert mse(x, x_hat)[image] == pytest.approx(((a - b) ** 2)[image].mean(), abs=1e-12)
        entropy = -(a * log_b + (1 - a) * log_not_b)[image].mean()
        assert bce(x, x_hat)[image] == pytest.approx(entropy, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_equals_scikit_image(shape) -> None:
    x, x_hat = pair(shape)
    want = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1.0)
        for a, b in zip(x, x_hat, strict=True)
    ]
    assert np.abs(psnr(x, x_hat).numpy() - want).max() < 1e-10


def test_psnr_of_known_images() -> None:
    x = torch.zeros(4, 1, 5, 5, dtype=torch.float64)
    x_hat = x + torch.tensor([1.0, 0.1, 1e-6, 0.0]).double()[:, None, None, None]
    # MSE 1, 0.01, 1e-12 (taken for 1e-10) and 0.
    assert psnr(x, x_hat).tolist() == pytest.approx([0, 20, 100, 100])
    assert psnr(x.float(), x.float()).tolist() == pytest.approx([100] * 4)


def test_known_answers() -> None:
    x, _ = pair((3, 32, 32))
    assert mse(x, x).abs().max() == 0
    assert (ssim(x, x) - 1).abs().max() < 1e-12
    assert gmsd(x, x).max() < 1e-12
    half, full = torch.full((2, 1, 28, 28), 0.5), torch.ones(2, 1, 28, 28)
    assert mse(half, full).tolist() == [0.25, 0.25]
    assert bce(half, half).tolist() == pytest.approx([math.log(2)] * 2)
    assert bce(full, 1 - full).tolist() == pytest.approx([100.0, 100.0])  # log stops at -100
    assert bce(full, full).abs().max() == 0


def test_values_just_outside_the_unit_interval_are_clamped() -> None:
    x, x_hat = pair((1, 28, 28))
    x_hat = x_hat.clone()
    x_hat[:, :, 0, 0] = 1 + 1e-4
    assert torch.isfinite(ssim(x, x_hat)).all()
    assert torch.isfinite(gmsd(x, x_hat)).all()


def test_kl_closed_forms() -> None:
    zero = torch.zeros(2, 3, dtype=torch.float64)
    assert kl(zero, zero).tolist() == [0, 0]
    assert kl(zero + 2, zero).tolist() == [6.0, 6.0]  # ½ μ² a dimension
    four = zero + math.log(4)
    assert kl(zero, four).tolist() == pytest.approx([3 * 0.5 * (4 - 1 - math.log(4))] * 2)


def test_kl_is_the_integral() -> None:
    mean, var = 0.7, 0.3
    q, p = stats.norm(mean, math.sqrt(var)), stats.norm()
    want, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -8, 8)
    got = kl(torch.tensor([[mean]]).double(), torch.tensor([[math.log(var)]]).double())
    assert got.item() == pytest.approx(want, abs=1e-8)


def test_likelihoods_are_those_of_scipy() -> None:
    x, x_hat = pair((1, 12, 12))
    binary = (x > 0.5).double()
    for i in range(len(x)):
        gaussian = stats.norm(x_hat[i].numpy(), 0.3).logpdf(x[i].numpy()).sum()
        assert gaussian_log_likelihood(x, x_hat, 0.3)[i] == pytest.approx(gaussian, abs=1e-9)
        inside = x_hat.clamp(0.01, 0.99)
        coins = stats.bernoulli(inside[i].numpy()).logpmf(binary[i].numpy()).sum()
        assert bernoulli_log_likelihood(binary, inside)[i] == pytest.approx(coins, abs=1e-9)


def test_elbo_is_mean_over_draws_minus_kl() -> None:
    draws = torch.tensor([[-10.0, -20.0], [-14.0, -20.0]])
    assert elbo(draws, torch.tensor([1.0, 2.0])).tolist() == [-13.0, -22.0]


@pytest.mark.parametrize("metric", RECONSTRUCTION.values())
def test_one_image_at_a_time_gives_the_same(metric) -> None:
    x, x_hat = pair((3, 32, 32), 7)
    together = metric(x, x_hat)
    alone = torch.cat([metric(x[i : i + 1], x_hat[i : i + 1]) for i in range(7)])
    assert together.shape == (7,)
    assert (together - alone).abs().max() < 1e-12
