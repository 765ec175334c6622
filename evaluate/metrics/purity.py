"""Whether images near each other in the latent space are of one class."""

import numpy as np


def purity(means: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Mean share of an image's k nearest neighbours that have its class; itself is not counted.

    `means` N x D, Euclidean distances in float64; `classes` N. Where all are in one place any image
    is as near as any other, and purity is that of chance. ValueError for less than k + 1 images.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(means) <= k:
        raise ValueError(f"{k} neighbours want more than {len(means)} images")
    means = np.asarray(means, np.float64)
    if (means == means[0]).all():
        return chance_of_purity(classes)
    # Far from the origin squared distances would lose their last digits.
    means = means - means.mean(0)
    # Without queries these are the vectors themselves, each left out among its own neighbours.
    near = NearestNeighbors(n_neighbors=k).fit(means).kneighbors(return_distance=False)
    return float((classes[near] == classes[:, None]).mean())


def chance_of_purity(classes: np.ndarray) -> float:
    """The purity of neighbours drawn at random: the share of the other images that have an
    image's class, mean over images."""
    counts = np.unique(classes, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(classes) * (len(classes) - 1)))
