"""Diversity, sharpness and a codebook's use, against independent implementations."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, spatial, stats

from evaluate.metrics.codebook import perplexity, usage
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.sharpness import sharpness


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def diversity(x: np.ndarray, batch: int = 100) -> float | None:
    seen = Diversity()
    for start in range(0, len(x), batch):
        seen.add(torch.from_numpy(x[start : start + batch]))
    return seen.value


@pytest.mark.parametrize("shape", [(2, 1, 5, 4), (31, 3, 8, 8), (100, 1, 28, 28)])
def test_diversity_is_the_root_mean_square_distance_of_all_pairs(shape) -> None:
    x = images(*shape)
    squared = spatial.distance.pdist(x.reshape(len(x), -1), "sqeuclidean")
    want = math.sqrt(squared.mean() / x[0].size)
    assert diversity(x) == pytest.approx(want, rel=1e-12)
    assert diversity(x, batch=7) == pytest.approx(want, rel=1e-12)


def test_diversity_of_known_sets() -> None:
    black, white = np.zeros((1, 1, 4, 4)), np.ones((1, 1, 4, 4))
    assert diversity(np.concatenate([black, white])) == 1
    assert diversity(np.concatenate([black, black, white])) == pytest.approx(math.sqrt(2 / 3))
    assert diversity(np.repeat(black, 5, 0)) == 0
    assert diversity(black) is None and Diversity().value is None


def test_diversity_does_not_depend_on_how_many_images() -> None:
    """Unbiased: the mean over all subsets of three is that of the whole set, in squares."""
    x = images(6, 1, 3, 3)
    parts = [diversity(x[list(chosen)]) ** 2 for chosen in itertools.combinations(range(6), 3)]
    assert np.mean(parts) == pytest.approx(diversity(x) ** 2, rel=1e-12)


def test_diversity_keeps_its_digits_for_images_that_hardly_differ() -> None:
    x = (0.9 + 1e-4 * images(4000, 1, 4, 4)).astype(np.float32)
    want = math.sqrt(2 * x.astype(np.float64).var(0, ddof=1).mean())
    assert diversity(x) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_is_the_variance_of_scipys_laplacian(channels: int) -> None:
    x = images(4, channels, 17, 20)
    want = []
    for image in x:
        grey = image[0] if channels == 1 else np.tensordot([0.299, 0.587, 0.114], image, 1)
        want.append(ndimage.laplace(grey)[1:-1, 1:-1].var())
    got = sharpness(torch.from_numpy(x))
    assert got.shape == (4,)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_sharpness_of_known_images() -> None:
    ramp = torch.linspace(0, 1, 12).expand(1, 1, 12, 12)
    assert sharpness(ramp).item() < 1e-12, "a Laplacian is blind to ramps"
    x = torch.from_numpy(images(1, 1, 32, 32))
    blurred = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 1, 1)))
    assert sharpness(blurred) < 0.05 * sharpness(x)
    assert sharpness(0.5 * x).item() == pytest.approx(0.25 * sharpness(x).item())


def test_codebook_use() -> None:
    counts = torch.tensor([3, 0, 5, 2, 0])
    assert perplexity(counts) == pytest.approx(math.exp(stats.entropy(counts)), rel=1e-12)
    assert usage(counts) == pytest.approx(3 / 5)
    assert perplexity(torch.tensor([7, 7, 7, 7])) == pytest.approx(4)
    assert perplexity(torch.tensor([0, 9])) == 1 and usage(torch.tensor([0, 9])) == 0.5
