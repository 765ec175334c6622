"""Diversity of a set of images: how far two different ones lie apart."""

import math

import torch


class Diversity:
    """Root mean square pixel distance of two distinct images of a set, seen in batches.

    sqrt of the mean, over all N (N - 1) / 2 pairs, of (a - b)² averaged over the D pixels and
    channels. No pair is formed: the mean over pairs of |a - b|² is twice the unbiased variance
    summed over pixels, 2 (Σ|a|² - |Σa|² / N) / (N - 1). Sums are kept in float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sum: torch.Tensor | None = None
        self.squares = 0.0

    def add(self, x: torch.Tensor) -> None:
        """Take in a batch, B x C x H x W."""
        x = x.double()
        total = x.sum(0)
        self.count += len(x)
        self.sum = total if self.sum is None else self.sum + total
        self.squares += float(x.pow(2).sum())

    @property
    def value(self) -> float | None:
        """The distance; None for fewer than two images."""
        if self.sum is None or self.count < 2:
            return None
        variance = (self.squares - float(self.sum.pow(2).sum()) / self.count) / (self.count - 1)
        return math.sqrt(max(0.0, 2 * variance / self.sum.numel()))
