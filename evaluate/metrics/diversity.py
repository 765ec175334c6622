"""Diversity of a set of images: how far two different ones lie apart."""

import math

from evaluate.metrics.moments import DiagonalMoments


class Diversity(DiagonalMoments):
    """Root mean square pixel distance of two distinct images of a set, seen in batches.

    sqrt of the mean, over all N (N - 1) / 2 pairs, of (a - b)² averaged over the D pixels and
    channels. No pair is formed: the mean over pairs of (a - b)² is twice the unbiased variance of
    a pixel.
    """

    @property
    def value(self) -> float | None:
        """The distance; None for fewer than two images."""
        if self.count < 2:
            return None
        return math.sqrt(2 * float(self.variance.mean()))
