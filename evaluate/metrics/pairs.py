"""Squared Euclidean distances of chosen pairs of vectors, exact but for float64's rounding."""

import torch

# Of the vectors of one chunk of pairs: 8 MB in float64.
_ENTRIES = 1 << 20


def squared_distances(
    a: torch.Tensor, b: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> torch.Tensor:
    """|a[first] - b[second]|² in float64: N x D, M x D and P indices of either -> P.

    From the difference, so that copies are at exactly 0, which |a|² + |b|² - 2 a·b does not give.
    """
    size = max(1, _ENTRIES // a.shape[1])
    found = [
        (a[i].double() - b[j].double()).pow(2).sum(1)
        for i, j in zip(first.split(size), second.split(size), strict=True)
    ]
    return torch.cat(found)
