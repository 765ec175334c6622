"""What is said with how much certainty: intervals, comparisons of models, tests over seeds.

Per-image values are float64. Every draw is from a generator with a fixed seed: the same numbers
give the same interval and the same p.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

LEVEL = 0.95
DRAWS = 10_000
# Entries of a chunk of bootstrap weights: what bounds the memory (8 bytes each, thrice).
_CHUNK = 1_000_000
# Weights that are kept from one metric to the next, where they are no more than so many.
_KEPT = 100_000_000
# Of permutations over seeds: all of them up to so many, else so many drawn.
PERMUTATIONS = 100_000
# Of the exact trend test: as many numbers of seeds dealt to each group, or fewer.
_STATES = 5000


def bootstrap_weights(n: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `n` images is in a bootstrap sample: chunks of (draws, n), float64.

    Each line is a multinomial count of n draws with replacement and adds up to n; the chunks
    together have `draws` lines.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(n,)))
    lines = max(1, _CHUNK // n)
    for start in range(0, draws, lines):
        count = min(lines, draws - start)
        drawn = rng.integers(0, n, (count, n)) + np.arange(count)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=count * n)
        yield counts.reshape(count, n).astype(np.float64)


@lru_cache(maxsize=2)
def _kept_weights(n: int, draws: int, seed: int) -> np.ndarray:
    """Few images' weights, which every metric wants again: a byte each."""
    return np.concatenate([w.astype(np.uint8) for w in bootstrap_weights(n, draws, seed)])


def _bootstrap_deviations(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of bootstrap samples of the n lines of `values` (n x M), less their own: draws x M."""
    n = len(values)
    centred = values - values.mean(0)
    if n * draws > _KEPT:
        chunks = [weights @ centred for weights in bootstrap_weights(n, draws, seed)]
    else:
        # No image is drawn 256 times: the chance is below 1e-500.
        parts = np.array_split(_kept_weights(n, draws, seed), max(1, n * draws // _CHUNK))
        chunks = [part.astype(np.float64) @ centred for part in parts]
    return np.concatenate(chunks) / n


def bootstrap_interval(
    values: np.ndarray, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval (Efron 1979) of the mean over images: low and high.

    `values`: n, or n x M for M metrics of the same images at once; the ends have shape () or M.
    It says how far the mean depends on which images were measured, and nothing of how far another
    training would differ.
    """
    values = np.asarray(values, np.float64)
    table = values.reshape(len(values), -1)
    deviations = _bootstrap_deviations(table, draws, seed)
    ends = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2], axis=0) + table.mean(0)
    low, high = ends.reshape(2, *values.shape[1:])
    return low, high


def seed_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean over seeds: mean ± t sd / √n; ValueError below two seeds."""
    from scipy.stats import t

    if len(values) < 2:
        raise ValueError("an interval over seeds wants two seeds at least")
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * _standard_error(values)
    mean = float(np.mean(values))
    return mean - half, mean + half


def _standard_error(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def paired_bootstrap(models: Sequence[np.ndarray], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Two-sided p that two models have the same mean, for every pair of R models: R x R.

    `models` holds S x n per-image values of each: S seeds (another number for each model, if need
    be) of the same n images in the same order. Images are drawn with replacement, the same ones
    for all models, so that what makes an image hard for all of them cancels. Seeds are not: three
    of them drawn with replacement have two thirds of their variance and normal tails, and call
    two sets of runs of one model different in some 15 % of cases and not in 5 %. Instead a
    model's mean over S seeds deviates as Student's t with S - 1 degrees of freedom times
    sd / √S, drawn for each model on its own and added to the images' deviation (for two models
    and no variance over images this is the Behrens-Fisher test). What images and seeds do together
    is counted in both parts, which errs on the side of calling models indistinguishable: of 100
    pairs of one model 0.3 to 2.5 come out below 0.05 with three seeds, 4 to 5 with one (2,000
    simulated pairs each). A model of one seed takes the deviation pooled over the models of
    several; where none has, images alone are drawn: p is of these trained networks and says
    nothing of another training.

    p = (1 + draws that deviate at least as far as what was found) / (1 + draws).
    """
    models = [np.atleast_2d(np.asarray(model, np.float64)) for model in models]
    of_images = np.stack([model.mean(0) for model in models], axis=1)
    deviations = _bootstrap_deviations(of_images, draws, seed)
    deviations += _seed_deviations([model.mean(1) for model in models], draws, seed)
    means = of_images.mean(0)
    p = np.ones((len(models), len(models)))
    for i in range(len(models)):
        found = np.abs(means[i] - means)
        as_far = np.abs(deviations[:, i : i + 1] - deviations) >= found * (1 - 1e-12)
        p[i] = (1 + as_far.sum(0)) / (1 + draws)
    # Rounding makes two means of the same numbers differ in their last bit.
    p[np.isclose(means[:, None], means, rtol=1e-12, atol=0)] = 1.0
    return p


def _seed_deviations(means: list[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """Draws of how far each model's mean over its seeds may be off: draws x R."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    freedom = sum(len(of_seeds) - 1 for of_seeds in means)
    squares = sum(float(np.sum((of_seeds - of_seeds.mean()) ** 2)) for of_seeds in means)
    deviations = np.zeros((draws, len(means)))
    if not freedom:
        return deviations
    for number, of_seeds in enumerate(means):
        if len(of_seeds) > 1:
            drawn = rng.standard_t(len(of_seeds) - 1, draws) * _standard_error(of_seeds)
        else:
            drawn = rng.standard_t(freedom, draws) * math.sqrt(squares / freedom)
        deviations[:, number] = drawn
    return deviations


def welch(models: Sequence[Sequence[float]]) -> np.ndarray:
    """Two-sided p of Welch's t-test over seeds for every pair of R models: R x R.

    Not a number where one of the two has fewer than two seeds, or where neither varies over its
    seeds and the means differ: there is nothing to test with. 1 where all values are the same.
    """
    from scipy.stats import ttest_ind_from_stats

    p = np.full((len(models), len(models)), np.nan)
    for i, a in enumerate(models):
        for j, b in enumerate(models):
            if i == j or list(a) == list(b):
                p[i, j] = 1.0
            elif min(len(a), len(b)) > 1 and max(np.ptp(a), np.ptp(b)) > 0:
                known = [x for of in (a, b) for x in (np.mean(of), np.std(of, ddof=1), len(of))]
                p[i, j] = ttest_ind_from_stats(*known, equal_var=False).pvalue
    return p


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p after Holm's step-down correction (Holm 1979): below α, the chance of one false alarm
    among all of them is at most α."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def order_test(a: Sequence[float], b: Sequence[float]) -> float | None:
    """One-sided p that mean(a) < mean(b), of two models' values by seed.

    Exact permutation test: the share of all ways to deal the values out to the two models (of
    100,000 drawn ones where there are more) that give a difference as low as the one found. With
    three seeds each and no overlap it is 1/20, and it cannot be lower. None where either has fewer
    than two seeds.
    """
    from scipy.stats import permutation_test

    if min(len(a), len(b)) < 2:
        return None

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    tested = permutation_test(
        [np.asarray(a, np.float64), np.asarray(b, np.float64)],
        difference,
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=10_000,
        alternative="less",
        rng=np.random.default_rng(0),
    )
    return float(tested.pvalue)


def trend_test(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """One-sided p that values rise, and that they fall, over groups in order.

    Jonckheere-Terpstra: of all pairs of values in two groups, how many rise (ties count half),
    against all ways to deal the values out to the groups; where there are very many groups and
    seeds, against 100,000 of them, drawn (then p is at least 1/100,001). `groups` hold a value for
    each seed. None where fewer than two groups have any, or none has two: over seeds there is
    nothing to test then.
    """
    groups = [group for group in groups if len(group)]
    if len(groups) < 2 or max(map(len, groups)) < 2:
        return None
    pooled = np.concatenate([np.asarray(group, np.float64) for group in groups])
    sizes = [len(group) for group in groups]
    found = int(_rising(pooled[None], sizes)[0])
    if math.prod(size + 1 for size in sizes) <= _STATES:
        ways = _all_rising(pooled, sizes)
        whole = sum(ways.values())
        rising = sum(count for of, count in ways.items() if of >= found)
        falling = sum(count for of, count in ways.items() if of <= found)
        return rising / whole, falling / whole
    rng = np.random.default_rng(0)
    drawn = _rising(rng.permuted(np.tile(pooled, (PERMUTATIONS, 1)), axis=1), sizes)
    at_least, at_most = int((drawn >= found).sum()), int((drawn <= found).sum())
    return (1 + at_least) / (1 + PERMUTATIONS), (1 + at_most) / (1 + PERMUTATIONS)


def _rising(dealt: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Twice the Jonckheere-Terpstra statistic of each line of values, group after group."""
    groups = np.split(dealt, np.cumsum(sizes)[:-1], axis=1)
    total = np.zeros(len(dealt), np.int64)
    for low, high in itertools.combinations(groups, 2):
        for column in high.T:
            total += (np.sign(column[:, None] - low) + 1).astype(np.int64).sum(1)
    return total


def _all_rising(pooled: np.ndarray, sizes: list[int]) -> Counter[int]:
    """In how many of all ways to deal the values out that statistic is what.

    Value after value, the lowest first: what a value adds depends only on how many each group has
    by then, so that ways with the same numbers are counted together. Ties are dealt at once.
    """
    states = {(0,) * len(sizes): Counter({0: 1})}
    for tied in np.unique(pooled, return_counts=True)[1].tolist():
        grown: dict[tuple[int, ...], Counter[int]] = {}
        for taken, ways in states.items():
            room = [range(min(tied, n - k) + 1) for n, k in zip(sizes, taken, strict=True)]
            for more in itertools.product(*room):
                if sum(more) != tied:
                    continue
                gain = sum(
                    more[high] * (2 * taken[low] + more[low])
                    for low, high in itertools.combinations(range(len(sizes)), 2)
                )
                deals = math.factorial(tied) // math.prod(map(math.factorial, more))
                after = tuple(k + m for k, m in zip(taken, more, strict=True))
                counted = grown.setdefault(after, Counter())
                for of, count in ways.items():
                    counted[of + gain] += count * deals
        states = grown
    return states[tuple(sizes)]
