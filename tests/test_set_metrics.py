"""Moments in blocks, and FID, KID and numbers of latents that come of them, against packages."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from evaluate.metrics.active_units import LatentMoments, active_units
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.fid import Moments, TooFewSamples, frechet_distance
from evaluate.metrics.information import information_rate, information_rate_as_published
from evaluate.metrics.kid import kernel_distance, squared_mmd


def vectors(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Features as networks give them: correlated, of unequal scale, 0 or more."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(size, size)) / math.sqrt(size)
    values = rng.normal(size=(count, size)) @ mixing + 0.1 * seed
    return torch.from_numpy(np.maximum(0, values))


def moments(x: torch.Tensor, batch: int = 64, kind: type = Moments):
    seen = kind()
    for part in x.split(batch):
        seen.add(part)
    return seen


# Moments


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_moments_are_numpys_whatever_the_batch(batch: int) -> None:
    x = vectors(200, 6) + 1000
    got = moments(x, batch)
    assert got.count == 200
    np.testing.assert_allclose(got.mean, x.numpy().mean(0), rtol=1e-13)
    want = np.cov(x.numpy(), rowvar=False)
    np.testing.assert_allclose(got.covariance, want, rtol=1e-10, atol=1e-12)
    diagonal = moments(x, batch, LatentMoments)
    np.testing.assert_allclose(diagonal.variance, np.diag(want), rtol=1e-10)


def test_moments_keep_their_digits_beside_a_large_mean() -> None:
    x = (1e6 + vectors(300, 3)).double()
    want = np.cov(x.numpy() - 1e6, rowvar=False)
    np.testing.assert_allclose(moments(x, 7).covariance, want, rtol=1e-8)
    in_float32 = moments(x.float() / 1e4, 7)
    np.testing.assert_allclose(
        in_float32.covariance, np.cov((x.float() / 1e4).double().numpy(), rowvar=False), rtol=1e-8
    )


def test_order_of_the_blocks_is_rounding_alone() -> None:
    x = vectors(130, 5) + 50
    forth, back = moments(x, 7), moments(x.flip(0), 64)
    np.testing.assert_allclose(forth.covariance, back.covariance, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [Moments, LatentMoments, Diversity])
def test_moments_go_on_from_a_file(kind: type, tmp_path) -> None:
    x = vectors(50, 4)
    whole, half = moments(x, 10, kind), moments(x[:30], 10, kind)
    np.savez(tmp_path / "state.npz", **half.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as arrays:
        again = kind.of(arrays)
    again.add(x[30:40])
    again.add(x[40:])
    for key, value in whole.state().items():
        np.testing.assert_array_equal(again.state()[key], value, strict=True)
    merged = moments(x[:30], 10, kind)
    rest = moments(x[30:], 10, kind)
    merged.merge(rest)
    merged.merge(kind())
    assert merged.count == 50 and rest.count == 20
    np.testing.assert_allclose(merged.state()["scatter"], whole.state()["scatter"], rtol=1e-12)
    empty = kind.of(kind().state())
    assert empty.count == 0
    empty.add(x)
    assert empty.count == 50


def test_moments_of_nothing() -> None:
    seen = Moments()
    seen.add(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="no vectors"):
        _ = seen.mean
    seen.add(torch.ones(1, 3))
    with pytest.raises(ValueError, match="at least 2 vectors, has 1"):
        _ = seen.covariance


# FID


@pytest.mark.parametrize(("size", "first", "second"), [(8, 100, 90), (64, 500, 700), (40, 41, 40)])
def test_fid_is_torch_fidelitys(size: int, first: int, second: int) -> None:
    real, fake = vectors(first, size), vectors(second, size, 1)
    statistics = [fid_features_to_statistics(x) for x in (real, fake)]
    want = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    got = frechet_distance(moments(real), moments(fake))
    assert got == pytest.approx(want, rel=1e-5, abs=1e-5) and got > 0.1
    assert frechet_distance(moments(fake), moments(real)) == pytest.approx(got, rel=1e-10)


def test_fid_where_features_hardly_or_never_vary() -> None:
    """Dead and dependent features: covariances of less than full rank."""
    real, fake = vectors(300, 30), vectors(280, 30, 1)
    for x in (real, fake):
        x[:, :5] = 0
        x[:, 5:10] = x[:, 10:15] + 1e-9 * x[:, 15:20]
    statistics = [fid_features_to_statistics(x) for x in (real, fake)]
    want = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(want, rel=1e-5, abs=1e-5)


def gaussian(mean: np.ndarray, root: np.ndarray) -> Moments:
    """Vectors whose mean and unbiased covariance are exactly `mean` and root rootᵀ."""
    size = len(mean)
    # mean ± the columns: 2 d vectors; their scatter is 2 root rootᵀ times what follows.
    spread = root.T * math.sqrt((2 * size - 1) / 2)
    return moments(torch.from_numpy(np.concatenate([mean + spread, mean - spread])))


def test_fid_of_gaussians_in_closed_form() -> None:
    """Covariances that commute: |μ - ν|² + Σ (σ_i - τ_i)², here with σ from 1e-6 to 1, and 0."""
    sigma = np.array([1.0, 0.5, 1e-3, 1e-6, 0.0, 2.0])
    tau = np.array([0.5, 0.5, 2e-3, 0.3, 0.2, 0.0])
    mean = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    a = gaussian(np.zeros(6), rotation * sigma)
    b = gaussian(mean, rotation * tau)
    want = (mean**2).sum() + ((sigma - tau) ** 2).sum()
    # An eigenvalue of 1e-12 has four digits beside one of 4.
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-10)
    assert 0 <= frechet_distance(a, a) < 1e-14
    assert frechet_distance(a, gaussian(mean, rotation * sigma)) == pytest.approx((mean**2).sum())


def test_fid_of_two_commuting_by_hand() -> None:
    """One dimension: 0, 2 has mean 1, variance 2; 3, 3, 6, 6 mean 4.5, variance 3."""
    a, b = (moments(torch.tensor(x)[:, None]) for x in ([0.0, 2.0], [3.0, 3.0, 6.0, 6.0]))
    want = 3.5**2 + 2 + 3 - 2 * math.sqrt(6)
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-14)


def test_fid_is_refused_with_fewer_samples_than_features() -> None:
    enough, few = moments(vectors(12, 12)), moments(vectors(11, 12))
    assert frechet_distance(enough, enough) < 1e-10
    for pair in ((enough, few), (few, enough)):
        with pytest.raises(TooFewSamples, match="as many samples as features, 12, has 11"):
            frechet_distance(*pair)
    with pytest.raises(TooFewSamples, match="has 0"):
        frechet_distance(Moments(), enough)
    with pytest.raises(TooFewSamples, match="features, 2, has 1"):
        frechet_distance(moments(torch.ones(1, 1)), moments(torch.ones(1, 1)))


# KID


def plain_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(z: np.ndarray) -> float:
        values = [k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]
        return sum(values) / len(values)

    return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_kid_is_the_plain_loops() -> None:
    x, y = vectors(13, 5), vectors(9, 5, 1)
    assert squared_mmd(x, y) == pytest.approx(plain_mmd(x.numpy(), y.numpy()), rel=1e-12)
    mean, deviation = kernel_distance(x[:9], y, subsets=3)
    want = plain_mmd(x[:9].numpy(), y.numpy())
    assert mean == pytest.approx(want, rel=1e-12) and deviation == 0


@pytest.mark.parametrize(("subset_size", "seed"), [(40, 2020), (70, 3)])
def test_kid_is_torch_fidelitys(subset_size: int, seed: int) -> None:
    real, fake = vectors(120, 16), vectors(80, 16, 1)
    want = kid_features_to_metric(
        real, fake, kid_subsets=20, kid_subset_size=subset_size, rng_seed=seed, verbose=False
    )
    mean, deviation = kernel_distance(real, fake, 20, subset_size, seed)
    assert mean == pytest.approx(want["kernel_inception_distance_mean"], rel=1e-12)
    assert deviation == pytest.approx(want["kernel_inception_distance_std"], rel=1e-10)


def test_kid_is_unbiased_and_takes_float32() -> None:
    """Two sets of one distribution: 0 within four standard errors; another: well above."""
    pool = vectors(6000, 4)
    values = [squared_mmd(x[:15], x[15:]) for x in pool.split(30)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))
    mean, _ = kernel_distance(pool[:500].float(), vectors(400, 4, 3).float(), 10, 1000)
    assert mean > 0.05
    with pytest.raises(ValueError, match="at least 2 vectors of each set, has 500 and 1"):
        kernel_distance(pool[:500], pool[:1])


# Latents


def test_active_units() -> None:
    rng = np.random.default_rng(0)
    means = torch.from_numpy(rng.normal(size=(5000, 4)) * np.sqrt([1.0, 0.011, 0.009, 0.0]) + 3)
    variances = moments(means.float(), 64, LatentMoments).variance
    np.testing.assert_allclose(variances, means.float().double().var(0), rtol=1e-9)
    assert active_units(variances) == 2
    assert active_units(torch.tensor([0.01, 0.0101])) == 1 and active_units(variances, 0.5) == 1


def test_information_rate_of_the_report() -> None:
    """Ten dimensions of unit variance, σ = 0.2: 5 log2(26) = 23.50; as published 5 log2(6)."""
    unit = torch.ones(10)
    assert information_rate(unit, 0.2) == pytest.approx(5 * math.log2(26), rel=1e-12)
    assert round(information_rate(unit, 0.2), 1) == 23.5
    assert round(information_rate_as_published(unit, 0.2), 2) == 12.92
    mixed = torch.tensor([0.0, 0.12, 0.28])  # by hand, σ² = 0.04: ½ (0 + log2 4 + log2 8) = 2.5
    assert information_rate(mixed, 0.2) == pytest.approx(2.5, rel=1e-6)
