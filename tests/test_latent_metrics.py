"""Metrics of a latent space against other implementations, and of collapsed dimensions."""

import math

import numpy as np
import pytest
import torch

from evaluate.metrics.class_information import class_information
from evaluate.metrics.correlation import correlations
from evaluate.metrics.kl import kl, kl_per_dimension
from evaluate.metrics.purity import chance_of_purity, purity
from evaluate.metrics.reencoding import holes, reencoding
from evaluate.metrics.wasserstein import wasserstein_from_normal

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(("mean", "sd"), [(0, 1), (0.3, 0.2), (-4, 1), (0, 16)])
def test_wasserstein_equals_scipys_on_the_normals_quantiles(mean: float, sd: float) -> None:
    from scipy.stats import norm, wasserstein_distance

    values = RNG.normal(mean, sd, (700, 2))
    many = norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    want = [wasserstein_distance(column, many) for column in values.T]
    np.testing.assert_allclose(wasserstein_from_normal(values), want, atol=2e-5)


def test_wasserstein_of_what_is_known() -> None:
    from scipy.stats import norm

    constant = np.array([[0.0, 3.0, -50.0]] * 9, np.float32)
    # E|c - N|, the mean of a folded normal.
    folded = [2 * norm.pdf(c) + c * (2 * norm.cdf(c) - 1) for c in (0, 3, -50)]
    np.testing.assert_allclose(wasserstein_from_normal(constant), folded, rtol=1e-12)
    assert folded[0] == pytest.approx(math.sqrt(2 / math.pi))
    assert wasserstein_from_normal(np.zeros((1, 1)))[0] == pytest.approx(folded[0])
    # Draws of the normal itself come nearer as they grow more, by the root of their number.
    mean = wasserstein_from_normal(RNG.normal(size=(10_000, 100))).mean()
    assert 1 < mean * math.sqrt(10_000) < 1.5


def brute_purity(means: np.ndarray, classes: np.ndarray, k: int) -> float:
    shares = []
    for i, mean in enumerate(means):
        distance = ((means.astype(np.float64) - mean) ** 2).sum(1)
        distance[i] = np.inf
        shares.append((classes[np.argsort(distance)[:k]] == classes[i]).mean())
    return float(np.mean(shares))


@pytest.mark.parametrize("dimensions", [2, 24])
@pytest.mark.parametrize("k", [1, 10])
def test_purity_equals_brute_force(dimensions: int, k: int) -> None:
    classes = RNG.integers(0, 3, 200)
    means = RNG.normal(size=(200, dimensions)) + classes[:, None]
    means[:, 0] = 7  # collapsed
    assert purity(means.astype(np.float32), classes, k) == pytest.approx(
        brute_purity(means.astype(np.float32), classes, k)
    )
    apart = means + 1000 * classes[:, None]
    assert purity(apart, classes, k) == 1


def test_purity_leaves_out_the_image_and_not_its_copies() -> None:
    """Two copies of each image, of one class: the other one is the nearest."""
    means = np.repeat(RNG.normal(size=(30, 2)), 2, axis=0)
    classes = np.repeat(np.arange(30), 2)
    assert purity(means, classes, 1) == 1
    classes[::2] += 100
    assert purity(means, classes, 1) == 0


def test_purity_by_chance() -> None:
    classes = np.repeat([0, 1, 2], [5, 3, 2])
    want = np.mean([((classes == c).sum() - 1) / 9 for c in classes])
    assert chance_of_purity(classes) == pytest.approx(want)
    # All in one place: by chance, however the images are sorted.
    assert purity(np.ones((10, 4), np.float32), classes, 3) == pytest.approx(want)
    with pytest.raises(ValueError, match="10 neighbours want more than 10 images"):
        purity(np.ones((10, 4)), classes, 10)


def test_class_information_equals_scikit_learns() -> None:
    from sklearn.metrics import mutual_info_score

    classes = RNG.integers(0, 4, 1000)
    z = RNG.normal(size=(1000, 3))
    z[:, 1] += 2 * (classes == 2)
    best = 0.0
    for column in z.T:
        place = np.argsort(np.argsort(column)) * 20 // 1000  # no two are equal
        for c in range(4):
            flag = classes == c
            p = flag.mean()
            whole = -p * math.log(p) - (1 - p) * math.log(1 - p)
            best = max(best, mutual_info_score(flag, place) / whole)
    assert class_information(z, classes) == pytest.approx(best, abs=1e-10)
    assert 0.3 < best < 1


def test_class_information_of_what_is_known() -> None:
    classes = np.repeat([0, 1], 100)
    told = classes + RNG.uniform(0, 0.1, 200)
    constant = np.full(200, 0.1, np.float32)
    assert class_information(np.stack([constant, told], 1), classes) == pytest.approx(1)
    assert class_information(constant[:, None], classes) == 0, "one bin, which tells nothing"
    assert class_information(told[:, None], np.zeros(200, int)) is None, "nothing to tell"
    # Equal values lie in one bin, wherever the quantiles fall.
    halves = np.where(np.arange(200) % 2, 1.0, 2.0)[:, None]
    assert class_information(halves, classes) == pytest.approx(0, abs=1e-12)


def test_correlations_equal_numpys() -> None:
    factor = RNG.integers(0, 9, 300)
    latents = RNG.normal(size=(300, 4)).astype(np.float32)
    latents[:, 1] -= factor
    latents[:, 2] = 0.1  # collapsed: its mean in floating point is not 0.1
    got = correlations(latents, factor)
    for d in (0, 1, 3):
        assert got[d] == pytest.approx(np.corrcoef(latents[:, d], factor)[0, 1], abs=1e-12)
    assert got[1] < -0.8 and got[2] == 0
    assert (correlations(latents, np.full(300, 0.1)) == 0).all()
    assert correlations(latents[:1], factor[:1]).tolist() == [0] * 4


def test_reencoding_and_holes() -> None:
    z, again = torch.randn(6, 3), torch.randn(6, 3)
    want = [math.sqrt(((a - b) ** 2).mean()) for a, b in zip(z.numpy(), again.numpy(), strict=True)]
    np.testing.assert_allclose(reencoding(z, again), want, rtol=1e-6)
    assert reencoding(z, z).tolist() == [0] * 6
    images = np.arange(101.0)  # whose 99 % quantile is 99
    assert holes(np.array([0, 98, 99, 99.5, 1000]), images) == pytest.approx(2 / 5)


def test_kl_per_dimension_is_torchs() -> None:
    from torch.distributions import Normal, kl_divergence

    mean, log_var = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    want = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dimension(mean, log_var), want)
    torch.testing.assert_close(kl(mean, log_var), want.sum(1))
