"""Kernel distance of two sets of features, KID (Bińkowski et al. 2018, arXiv:1801.01401)."""

import numpy as np
import torch


def kernel_distance(
    real: torch.Tensor,
    fake: torch.Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Mean and standard deviation (population) over subsets of the squared MMD, N x d and M x d.

    Kernel (x·y / d + 1)³, unbiased, in float64; below 0 by chance where the sets are alike. Each
    subset has `subset_size` vectors of either set, without repetition, or as many as the smaller
    set has where that is less. ValueError for fewer than two vectors.

    Subsets are drawn as torch-fidelity draws them, so that the same seed (2020 is its default)
    gives the same number.
    """
    size = min(subset_size, len(real), len(fake))
    if size < 2:
        raise ValueError(f"needs at least 2 vectors of each set, has {len(real)} and {len(fake)}")
    if size == len(real) == len(fake):
        subsets = 1
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = real[_chosen(rng, len(real), size, real.device)].double()
        y = fake[_chosen(rng, len(fake), size, fake.device)].double()
        values.append(squared_mmd(x, y))
    return float(np.mean(values)), float(np.std(values))


def _chosen(rng: np.random.RandomState, of: int, size: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(rng.choice(of, size, replace=False)).to(device)


def squared_mmd(x: torch.Tensor, y: torch.Tensor) -> float:
    """Unbiased squared MMD of N x d and M x d vectors (Gretton et al. 2012, lemma 6)."""
    within = sum(_mean_of_pairs(_kernel(z, z)) for z in (x, y))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y.T / x.shape[1] + 1).pow(3)


def _mean_of_pairs(kernel: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of two different vectors: a vector beside itself is what biases."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
