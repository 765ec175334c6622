"""Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage.

Density and coverage: Naeem et al. 2020 (arXiv:2002.09797), whose code all four follow: a vector's
ball is open and ends at its k-th neighbour in its own set, itself not counted.
"""

from collections.abc import Iterator

import torch

from evaluate.metrics.pairs import squared_distances

# Of a block of squared distances: 8 MB.
_ENTRIES = 1 << 20
# Of a squared distance as |a|² + |b|² - 2 a·b in float64, in units of |a|² + |b|²: above what
# rounding comes to, and below what tells two vectors of features apart.
_ROUNDING = 1e-11
# Neighbours beyond the k-th that may trade places with it by that rounding.
_MORE = 8


def prdc(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    """`precision`, `recall`, `density` and `coverage` of features N x d (real) and M x d (fake).

    Distances are Euclidean, in float64; one within rounding of a ball's edge is taken again from
    the difference of the two vectors, so that copies lie at exactly 0 and ties are ties. They come
    in blocks: beside the features no memory grows with N M. ValueError where a set has no k-th
    neighbour.
    """
    for name, vectors in (("real", real), ("fake", fake)):
        if len(vectors) <= k:
            raise ValueError(
                f"neighbour {k} of a vector needs more than {k} of them, {name} has {len(vectors)}"
            )
    real, fake = real.double(), fake.double()
    of_real, of_fake = _squared_radii(real, k), _squared_radii(fake, k)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    covered = recalled = 0
    for start, squared in _blocks(real, fake):
        rows = real[start : start + len(squared)]
        inside = _inside(rows, fake, squared, of_real[start : start + len(rows), None])
        balls += inside.sum(0)
        # A vector's nearest is within its ball where any is.
        covered += int(inside.any(1).sum())
        recalled += int(_inside(rows, fake, squared, of_fake[None]).any(1).sum())
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(balls.double().mean()) / k,
        "coverage": covered / len(real),
    }


def _blocks(a: torch.Tensor, b: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The first row, and squared distances of some rows of `a` to all of `b`, not exact."""
    norms = b.pow(2).sum(1)
    size = max(1, _ENTRIES // len(b))
    for start in range(0, len(a), size):
        rows = a[start : start + size]
        yield start, torch.addmm(norms + rows.pow(2).sum(1, keepdim=True), rows, b.T, alpha=-2)


def _inside(
    a: torch.Tensor, b: torch.Tensor, squared: torch.Tensor, radius: torch.Tensor
) -> torch.Tensor:
    """Which squared distances are below the squared radii, exact where rounding could decide."""
    gap = squared - radius
    slack = _ROUNDING * (a.pow(2).sum(1, keepdim=True) + b.pow(2).sum(1))
    inside = gap < 0
    first, second = (gap.abs_() <= slack).nonzero(as_tuple=True)
    if len(first):
        exact = squared_distances(a, b, first, second)
        inside[first, second] = exact < radius.expand_as(inside)[first, second]
    return inside


def _squared_radii(vectors: torch.Tensor, k: int) -> torch.Tensor:
    """Squared distance of each to its k-th neighbour among the others."""
    others = min(k + _MORE, len(vectors) - 1)
    radii = []
    for start, squared in _blocks(vectors, vectors):
        squared.diagonal(start).fill_(torch.inf)
        second = squared.topk(others, 1, largest=False).indices
        first = torch.arange(start, start + len(second), device=second.device)
        exact = squared_distances(
            vectors, vectors, first.repeat_interleave(others), second.flatten()
        )
        radii.append(exact.view(-1, others).kthvalue(k, 1).values)
    return torch.cat(radii)
