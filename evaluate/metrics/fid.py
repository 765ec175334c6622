"""Fréchet distance of two Gaussians (Heusel et al. 2017, arXiv:1706.08500, eq. 6)."""

import torch

from evaluate.metrics.moments import BaseMoments


class TooFewSamples(ValueError):
    """A covariance of d features from fewer than d samples says nothing of most directions."""


class Moments(BaseMoments):
    """Mean and covariance of features that come in blocks."""

    @staticmethod
    def _products(deviations: torch.Tensor) -> torch.Tensor:
        return deviations.T @ deviations

    @property
    def covariance(self) -> torch.Tensor:
        """The unbiased covariance, d x d. ValueError for fewer than two vectors."""
        return self._unbiased()


def frechet_distance(a: Moments, b: Moments) -> float:
    """|μ_a - μ_b|² + tr(A + B - 2 (A^½ B A^½)^½) of means μ and covariances A, B; 0 or more.

    TooFewSamples where either has seen fewer vectors than they have dimensions (or than two).
    """
    for moments in (a, b):
        least = max(2, moments.mean.numel() if moments.count else 2)
        if moments.count < least:
            raise TooFewSamples(
                f"needs at least as many samples as features, {least:,}, has {moments.count:,}"
            )
    first, second = _factor(a.covariance), _factor(b.covariance)
    # tr (A^½ B A^½)^½ is the sum of the singular values of A^½ B^½: each comes out with an error
    # of the largest one's rounding, where a root of an eigenvalue near 0 would have its square
    # root. With A = F Fᵀ any factor F does as well as A^½.
    overlap = torch.linalg.svdvals(first.T @ second).sum()
    shift = (a.mean.cpu() - b.mean.cpu()).pow(2).sum()
    traces = first.pow(2).sum() + second.pow(2).sum()
    return max(0.0, float(shift + traces - 2 * overlap))


def _factor(covariance: torch.Tensor) -> torch.Tensor:
    """F with F Fᵀ = covariance, d x rank: eigenvalues that are 0 but for rounding are left out."""
    values, vectors = torch.linalg.eigh(covariance.cpu())
    rounding = len(values) * torch.finfo(values.dtype).eps
    kept = values > rounding * values[-1].clamp(min=0)
    return vectors[:, kept] * values[kept].sqrt()
