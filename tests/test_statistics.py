"""Intervals, comparisons and tests over seeds: by hand, against scipy, and how often they err."""

import itertools

import numpy as np
import pytest
from scipy import stats

from evaluate import statistics
from evaluate.statistics import (
    bootstrap_interval,
    bootstrap_weights,
    holm,
    order_test,
    paired_bootstrap,
    seed_interval,
    trend_test,
    welch,
)


def test_bootstrap_weights_are_counts_of_n_draws() -> None:
    chunks = list(bootstrap_weights(700, 4000, 0))
    assert len(chunks) == 3, "in chunks"
    weights = np.concatenate(chunks)
    assert weights.shape == (4000, 700)
    assert (weights.sum(1) == 700).all() and (weights == weights.round()).all()
    # Of a multinomial: mean 1, variance 1 - 1/n.
    assert weights.mean(0) == pytest.approx(np.ones(700), abs=0.07)
    assert weights.var() == pytest.approx(1 - 1 / 700, abs=0.01)
    np.testing.assert_array_equal(weights, np.concatenate(list(bootstrap_weights(700, 4000, 0))))


def test_bootstrap_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=(300, 2)) * [1.0, 50.0] - [0.0, 11_000.0]
    low, high = bootstrap_interval(values)
    for column in range(2):
        theirs = stats.bootstrap(
            (values[:, column],), np.mean, method="percentile", random_state=0
        ).confidence_interval
        width = theirs.high - theirs.low
        assert low[column] == pytest.approx(theirs.low, abs=0.04 * width)
        assert high[column] == pytest.approx(theirs.high, abs=0.04 * width)
    one = bootstrap_interval(values[:, 0])
    assert np.ndim(one[0]) == 0 and one == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_many_images_are_drawn_in_chunks_with_the_same_result(monkeypatch) -> None:
    values = np.random.default_rng(10).normal(size=(500, 2))
    kept = bootstrap_interval(values)
    monkeypatch.setattr(statistics, "_KEPT", 0)
    np.testing.assert_allclose(bootstrap_interval(values), kept, rtol=1e-12)


def test_bootstrap_interval_of_what_does_not_vary() -> None:
    assert bootstrap_interval(np.full(7, 0.1)) == (pytest.approx(0.1), pytest.approx(0.1))


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    """400 sets of 100 images at once, the same images drawn: 95 % within four standard errors."""
    values = np.random.default_rng(2).normal(3.0, 1.0, (100, 400))
    low, high = bootstrap_interval(values, draws=2000)
    assert ((low < 3.0) & (high > 3.0)).mean() == pytest.approx(0.95, abs=0.044)


def test_seed_interval_by_hand() -> None:
    # Mean 2, sd 1, t(0.975, 2) = 4.30265.
    low, high = seed_interval([1.0, 2.0, 3.0])
    half = pytest.approx(4.30265 / 3**0.5, abs=1e-5)
    assert (2 - low, high - 2) == (half, half)
    with pytest.raises(ValueError, match="two seeds"):
        seed_interval([1.0])


def _cases(count: int, seeds: int, sd: float, shift: float, rng: np.random.Generator):
    """Pairs of models, per-image values S x 200: images differ (for both alike), seeds by `sd`."""
    for _ in range(count):
        images = rng.normal(0, 1, 200)
        yield [
            images
            + rng.normal(0, sd, (seeds, 1))
            + rng.normal(0, 0.3, (seeds, 200))
            + shift * number
            for number in range(2)
        ]


def _share(count: int, seeds: int, sd: float, shift: float, rng: int) -> float:
    cases = _cases(count, seeds, sd, shift, np.random.default_rng(rng))
    return float(np.mean([paired_bootstrap(case, draws=400)[0, 1] < 0.05 for case in cases]))


def test_one_model_twice_is_called_two_in_one_case_of_twenty() -> None:
    """One seed, images alone: within four standard errors of 400 cases."""
    assert _share(400, 1, 0.0, 0.0, 3) == pytest.approx(0.05, abs=0.044)


@pytest.mark.parametrize("sd", [0.0, 0.05, 1.0])
def test_with_three_seeds_one_model_twice_is_called_two_in_at_most_one_case_of_twenty(sd) -> None:
    """Whether images or seeds make most of the deviation; resampled seeds give 15 % at sd = 1."""
    assert _share(400, 3, sd, 0.0, 4) <= 0.05 + 0.03


def test_seeds_drawn_with_replacement_would_be_wrong() -> None:
    """Why they are not: what the test above asks for, a plain hierarchical bootstrap fails."""
    rng, wrong = np.random.default_rng(5), 0
    for case in _cases(200, 3, 1.0, 0.0, rng):
        means = [model.mean(1) for model in case]
        found = means[0].mean() - means[1].mean()
        drawn = [of[rng.integers(0, 3, (400, 3))].mean(1) for of in means]
        off = drawn[0] - drawn[1] - found
        wrong += (1 + (np.abs(off) >= abs(found)).sum()) / 401 < 0.05
    assert wrong / 200 > 0.1


def test_a_difference_is_found() -> None:
    """Of 0.15 where images have sd 1 and what is left of one image 0.42: by pairing alone."""
    assert _share(60, 1, 0.0, 0.15, 6) > 0.95
    assert _share(60, 3, 0.02, 0.15, 6) > 0.9
    rng = np.random.default_rng(6)
    unpaired = [[a, rng.permutation(b[0])[None]] for a, b in _cases(60, 1, 0.0, 0.15, rng)]
    assert np.mean([paired_bootstrap(case, draws=400)[0, 1] < 0.05 for case in unpaired]) < 0.6


def test_many_models_are_compared_as_each_pair_is() -> None:
    rng = np.random.default_rng(7)
    models = [rng.normal(mean, 1, (2, 300)) for mean in (0.0, 0.02, 0.5)] + [np.zeros((1, 300))]
    p = paired_bootstrap(models)
    np.testing.assert_array_equal(p, p.T)
    assert p[0, 2] < 0.05 < p[0, 1] and (np.diag(p) == 1).all()
    # One seed takes the others' deviation: against itself alone there would be none at all.
    assert p[3, 2] > paired_bootstrap([models[2].mean(0), models[3]])[0, 1]


def test_one_seed_is_students_paired_test() -> None:
    rng = np.random.default_rng(8)
    a = rng.normal(0, 1, 500)
    b = a + rng.normal(0.02, 0.3, 500)
    ours = paired_bootstrap([a, b], draws=20_000)[0, 1]
    assert ours == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.015)


def test_the_same_bits_are_not_distinguishable() -> None:
    a = np.random.default_rng(9).normal(size=(3, 50))
    assert paired_bootstrap([a, a.copy()])[0, 1] == 1.0
    assert paired_bootstrap([np.full(9, 0.1), np.full((3, 9), 0.1)])[0, 1] == 1.0
    spread = a + np.array([[0.0], [1.0], [2.0]])
    assert paired_bootstrap([spread, spread + 1.0], draws=99)[0, 1] > 0.05, "seeds vary"
    assert paired_bootstrap([a[0], a[0] + 1.0], draws=99)[0, 1] == 1 / 100, "never 0"


def test_welch_is_that_of_scipy_and_says_when_there_is_nothing_to_test() -> None:
    a, b = [1.0, 2.0, 4.0], [3.0, 5.0, 8.0, 9.0]
    p = welch([a, b, [7.0], [2.0, 2.0], [3.0, 3.0]])
    assert p[0, 1] == p[1, 0] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert np.isnan(p[0, 2]) and np.isnan(p[3, 4]) and p[2, 2] == 1.0 and p[3, 3] == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_an_order_over_three_seeds_is_one_in_twenty_at_best() -> None:
    assert order_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == 0.05
    assert order_test([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]) == 1.0
    # Of 6 ways {1, 2}, {1, 3}, ... {1, 3} is second lowest.
    assert order_test([1.0, 3.0], [2.0, 4.0]) == pytest.approx(2 / 6)
    assert order_test([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert order_test([1.0], [2.0, 3.0]) is None and order_test([1.0, 2.0], []) is None


def _rising_pairs(groups) -> float:
    """Jonckheere-Terpstra, pair by pair."""
    pairs = itertools.combinations(groups, 2)
    return sum((x < y) + 0.5 * (x == y) for a, b in pairs for x in a for y in b)


@pytest.mark.parametrize("groups", [[[1, 4], [2, 5], [3]], [[1, 2], [2, 2], [3, 1]]])
def test_a_trend_is_the_share_of_all_ways(groups) -> None:
    sizes = [len(group) for group in groups]
    ends = np.cumsum(sizes)
    found = _rising_pairs(groups)
    pooled = [value for group in groups for value in group]
    dealt = [
        _rising_pairs([way[end - size : end] for size, end in zip(sizes, ends, strict=True)])
        for way in itertools.permutations(pooled)
    ]
    rising, falling = trend_test(groups)
    assert rising == pytest.approx(np.mean([j >= found for j in dealt]))
    assert falling == pytest.approx(np.mean([j <= found for j in dealt]))


def test_trends_that_are_plain_and_trends_that_cannot_be_told() -> None:
    rising = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    assert trend_test(rising) == (pytest.approx(1 / 1680), 1.0)
    assert trend_test(rising[::-1]) == (1.0, pytest.approx(1 / 1680))
    five = [[1.0, 2.0, 3.0], [2.5, 4.0, 4.0], [5.0, 6.0, 7.0], [3.5, 8.0, 9.0], [8.5, 10.0, 11.0]]
    assert 0 < trend_test(five)[0] < 1e-5
    six = [[float(g), g + 0.5, g + 0.75, g + 0.8] for g in range(6)]
    assert trend_test(six) == (pytest.approx(1 / 100_001), 1.0), "too many: drawn"
    assert trend_test([[1.0], [2.0], [3.0]]) is None
    assert trend_test([[1.0, 2.0], []]) is None
