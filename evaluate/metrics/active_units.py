"""Active units of a latent space (Burda et al. 2016, arXiv:1509.00519, section 2)."""

import torch

from evaluate.metrics.moments import DiagonalMoments

ACTIVE = 0.01  # variance above which a unit is active


class LatentMoments(DiagonalMoments):
    """Means and variances over a split of posterior means, or embeddings, B x D in batches."""


def active_units(variances: torch.Tensor, threshold: float = ACTIVE) -> int:
    """How many of D dimensions have a posterior mean whose variance is above the threshold."""
    return int((variances > threshold).sum())
