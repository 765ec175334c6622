"""How much one latent dimension alone tells of a class (mutual information over equal-count bins).

Cover & Thomas 2006 (doi:10.1002/047174882X), section 2.4.
"""

import numpy as np

BINS = 20


def class_information(z: np.ndarray, classes: np.ndarray, bins: int = BINS) -> float | None:
    """The largest, over dimensions d and classes c, of I(1[class = c]; z_d) / H(1[class = c]).

    `z` N x D, `classes` N. Each dimension falls into bins of about N / `bins` values by its
    quantiles; equal values lie in one bin, so that a constant has one and tells nothing. None where
    all images are of one class, and there is nothing to tell. It is 1 where some dimension's bins
    hold a class wholly or not at all, and not quite 0 by chance: about a bin less one over
    2 N ln 2 H.
    """
    _, codes, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return None
    whole = _entropy(sizes / len(z))
    best = 0.0
    for column in np.asarray(z, np.float64).T:
        which = _bins(column, bins)
        counts = np.bincount(which)
        # Bins x classes: how many of a class are in a bin.
        both = which * len(sizes) + codes.reshape(-1)
        held = np.bincount(both, minlength=len(counts) * len(sizes)).reshape(len(counts), -1)
        left = (counts[:, None] / len(z) * _entropy(held / counts[:, None])).sum(0)
        best = max(best, float(((whole - left) / whole).max()))
    return best


def _bins(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each value, from 0, none of them empty."""
    edges = np.quantile(values, np.arange(1, bins) / bins)
    found = np.searchsorted(edges, values, side="right")
    return np.unique(found, return_inverse=True)[1].reshape(-1)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Of yes or no at probability p, in bits."""
    from scipy.special import entr

    return (entr(p) + entr(1 - p)) / np.log(2)
