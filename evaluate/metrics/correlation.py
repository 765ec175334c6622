"""Pearson's correlation of latents with the factors that images were made of."""

import numpy as np


def correlations(latents: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Pearson's r of each column of N x D latents with a factor, N: D, signed.

    A constant goes with nothing: where a dimension, or the factor, is one, r is 0 here, and not
    undefined.
    """
    x, y = np.asarray(latents, np.float64), np.asarray(factor, np.float64)
    # By the values themselves: a constant's mean may differ from it by a last bit.
    vary = (x != x[:1]).any(0) & (y != y[0]).any()
    x, y = x - x.mean(0), y - y.mean()
    norms = np.linalg.norm(x, axis=0) * np.linalg.norm(y)
    r = np.zeros(x.shape[1])
    np.divide(y @ x, norms, out=r, where=vary & (norms > 0))
    return r.clip(-1, 1)
