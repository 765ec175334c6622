"""Nearest neighbours by Euclidean distance, over references that come in blocks."""

from collections.abc import Iterable

import torch

from evaluate.metrics.pairs import squared_distances

# Of a chunk of vectors, and of a block of distances, at most: 8 MB in float32.
_ENTRIES = 1 << 21
_ROWS = 1024


def nearest(
    queries: torch.Tensor, references: Iterable[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance (float64) and index (int64) of each query's nearest reference: Q x D -> Q, Q.

    References are float32 blocks R x D on the queries' device, indexed through all blocks; of
    equally near ones the first is it. The answer is that of float64 throughout: products in
    float32 only rule out what they surely can, and the distances of the rest are taken from
    differences, so that a copy is at exactly 0. Beside what is passed in, memory is about 64 MB.

    ValueError where there are no references, or a vector is not finite.
    """
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=queries.device)
    index = torch.full_like(best, -1, dtype=torch.int64)
    rows = max(1, min(_ROWS, _ENTRIES // queries.shape[1]))
    # Rounding is relative to the norms, which are smaller about the middle.
    centre = queries.mean(0)
    if not torch.isfinite(centre).all():
        raise ValueError("a query is not finite")
    seen = 0
    for block in references:
        for chunk in block.split(rows) if len(block) else ():
            moved = chunk - centre
            norms = moved.pow(2).sum(1)
            if not torch.isfinite(norms).all():
                raise ValueError("a reference is not finite")
            for start in range(0, len(queries), rows):
                part = slice(start, start + rows)
                pairs = _candidates(queries[part] - centre, moved, norms, best[part])
                _take(queries[part], chunk, pairs, best[part], index[part], seen)
            seen += len(chunk)
    if not seen:
        raise ValueError("there are no references")
    return best.sqrt(), index


def _unit(x: torch.Tensor) -> float:
    """Bound of the relative error of one product of a matrix multiplication."""
    tf32 = x.is_cuda and torch.backends.cuda.matmul.allow_tf32
    return 2.0**-10 if tf32 else 2.0**-24


def _candidates(
    queries: torch.Tensor, references: torch.Tensor, norms: torch.Tensor, best: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs that may be as near as the best: `best` has squared distances, `norms` squared norms.

    Every query's nearest of these references is among its pairs, unless it is farther than the
    best already found. Pairs are in order of queries and then of references.
    """
    sums = queries.pow(2).sum(1, keepdim=True) + norms
    squared = torch.addmm(sums, queries, references.T, alpha=-2)
    # Higham 2002, section 3.1: n products added up are off by at most n units of the product of
    # the norms, of which twice is at most the sum of their squares.
    error = sums.mul_((queries.shape[1] + 16) * _unit(queries))
    farthest = (squared + error).amin(1).minimum((best * (1 + 1e-6)).float())
    ruled_out = squared.sub_(error) > farthest[:, None]
    first, second = (~ruled_out).nonzero(as_tuple=True)
    return first, second


def _take(
    queries: torch.Tensor,
    references: torch.Tensor,
    pairs: tuple[torch.Tensor, torch.Tensor],
    best: torch.Tensor,
    index: torch.Tensor,
    seen: int,
) -> None:
    """Write into `best` and `index` what is nearer among the pairs; `seen` references went by."""
    first, second = pairs
    if not len(first):
        return
    squared = squared_distances(queries, references, first, second)
    least = torch.full_like(best, torch.inf).scatter_reduce(0, first, squared, "amin")
    at_least = squared == least[first]
    nobody = torch.full_like(index, len(references))
    where = nobody.scatter_reduce(0, first[at_least], second[at_least], "amin")
    nearer = least < best
    best[nearer] = least[nearer]
    index[nearer] = where[nearer] + seen
