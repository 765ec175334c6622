"""Coverage and D_KL on finite data sets: cases worked by hand, and a perfect sampler."""

import math

import numpy as np
import pytest
import torch

from evaluate.metrics.finite import coverage_at, kl_from_uniform
from evaluate.metrics.nearest import nearest

VALID = 8002


def test_by_hand_from_images_to_numbers() -> None:
    """Four valid images of two pixels, six samples."""
    valid = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    samples = torch.tensor(
        [
            [0.0, 0.0],  # image 0, at 0
            [0.1, 0.0],  # image 0, at 0.1
            [1.0, 0.25],  # image 1, at 0.25
            [0.0, 0.6],  # image 2, at 0.4
            [0.3, 0.4],  # image 0, at 0.5
            [0.5, 0.0],  # as near to 0 as to 1: image 0, the first, at 0.5
        ]
    )
    distance, index = nearest(samples, [valid[:3], valid[3:]])
    assert index.tolist() == [0, 0, 1, 2, 0, 0]
    assert distance.tolist() == pytest.approx([0, 0.1, 0.25, 0.4, 0.5, 0.5])
    # Within 0.25: images 0 and 1; within 0.2: image 0; within 0.4 (and no more): 0, 1 and 2.
    assert coverage_at(distance, index, 4, 0.25) == 0.5
    assert coverage_at(distance, index, 4, 0.2) == 0.25
    assert coverage_at(distance, index, 4, 0.45) == 0.75
    assert coverage_at(distance, index, 4, 9) == 0.75, "image 3 is nobody's nearest"
    # Shares 4/6, 1/6, 1/6, 0 and ε = 1/6, so 5/6, 2/6, 2/6, 1/6: each image has 1/4 of
    # log2(1/4 / that) = log2(3/10), log2(3/4), log2(3/4), log2(3/2).
    want = (math.log2(0.3) + 2 * math.log2(0.75) + math.log2(1.5)) / 4
    assert kl_from_uniform(index, 4, 1 / 6) == pytest.approx(want, rel=1e-14)
    # The report's ε = 1e-10: the image that is left out costs log2(1/4 / 1e-10) / 4 = 7.8 bits.
    seen = (math.log2(0.25 / (4 / 6)) + 2 * math.log2(0.25 / (1 / 6))) / 4
    want = seen + math.log2(0.25e10) / 4
    assert kl_from_uniform(index, 4, 1e-10) == pytest.approx(want, rel=1e-9)


def test_known_distributions() -> None:
    each = torch.arange(8)
    assert kl_from_uniform(each.repeat(3), 8, 0) == pytest.approx(0, abs=1e-15)
    # Half of the images twice as often, half never, ε = 1/8: shares 2/8 + 1/8 and 1/8.
    half = kl_from_uniform(each[:4].repeat(2), 8, 1 / 8)
    assert half == pytest.approx(0.5 * math.log2(1 / 3) + 0.5 * math.log2(1))
    assert kl_from_uniform(each[:4], 8, 0) == math.inf
    assert coverage_at(torch.zeros(4), each[:4], 8, 0) == 0.5
    # All samples one image (a collapsed model): 13 bits less those of that image.
    collapsed = kl_from_uniform(torch.zeros(100, dtype=torch.int64), VALID, 1e-10)
    want = (-math.log2(VALID) + (VALID - 1) * math.log2(1e10 / VALID)) / VALID
    assert collapsed == pytest.approx(want, rel=1e-6)
    assert coverage_at(torch.zeros(100), torch.zeros(100).long(), VALID, 3) == 1 / VALID


def test_a_perfect_sampler_scores_what_chance_leaves_out() -> None:
    """SOURCES: about 7.1 bits with as many draws as images, 71 % coverage with 10,000."""
    rng = np.random.default_rng(0)
    bits, covered = [], []
    for _ in range(20):
        index = torch.from_numpy(rng.integers(0, VALID, VALID))
        bits.append(kl_from_uniform(index, VALID, 1e-10))
        index = torch.from_numpy(rng.integers(0, VALID, 10_000))
        covered.append(coverage_at(torch.zeros(10_000), index, VALID, 3))
    # An image is left out with probability (1 - 1/n)^draws, and then costs log2(1e10 / n) / n.
    left = (1 - 1 / VALID) ** 10_000
    assert np.mean(covered) == pytest.approx(1 - left, abs=0.002) and round(1 - left, 2) == 0.71
    counts = np.arange(1, 30)
    poisson = np.exp(-1) / np.array([float(math.factorial(k)) for k in counts])
    want = np.exp(-1) * math.log2(1e10 / VALID) - (poisson * np.log2(counts)).sum()
    assert np.mean(bits) == pytest.approx(want, abs=0.05) and round(want, 1) == 7.1


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        kl_from_uniform(torch.zeros(0, dtype=torch.int64), 4, 1e-10)
    assert coverage_at(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 4, 1) == 0
