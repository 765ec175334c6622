"""Nearest neighbours by Euclidean distance, over references that come in blocks."""

from collections.abc import Iterable

import torch

from evaluate.metrics.pairs import squared_distances

# Of a chunk of vectors, and of a block of distances, at most: 16 MB.
_ENTRIES = 1 << 22
_ROWS = 1024


def nearest(
    queries: torch.Tensor, references: Iterable[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance (float64) and index (int64) of each query's nearest reference: Q x D -> Q, Q.

    References are float32 blocks R x D on the queries' device, indexed through all blocks; of
    equally near ones the first is it. The answer is that of float64 throughout: products in
    float32 only rule out what they surely can, and the distances of the rest are taken from
    differences, so that a copy is at exactly 0. Beside what is passed in and a copy of the
    queries, memory is about 64 MB.

    ValueError where there are no references, or a vector is not finite.
    """
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64, device=queries.device)
    index = torch.full_like(best, -1, dtype=torch.int64)
    rows = max(1, min(_ROWS, _ENTRIES // queries.shape[1]))
    # Rounding is relative to the norms, which are smaller about the middle.
    centre = queries.mean(0)
    moved = queries - centre
    norms = _squared_norms(moved)
    if not torch.isfinite(norms).all():
        raise ValueError("a query is not finite")
    seen = 0
    for block in references:
        for chunk in block.split(rows) if len(block) else ():
            others = chunk - centre
            of_others = _squared_norms(others)
            if not torch.isfinite(of_others).all():
                raise ValueError("a reference is not finite")
            for start in range(0, len(queries), rows):
                part = slice(start, start + rows)
                sums = norms[part, None] + of_others
                pairs = _candidates(moved[part], others, sums, best[part])
                _take(queries[part], chunk, pairs, best[part], index[part], seen)
            seen += len(chunk)
    if not seen:
        raise ValueError("there are no references")
    return best.sqrt(), index


def _squared_norms(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x, dim=1).square()


def _slack(x: torch.Tensor) -> float:
    """Bound of the error of |a|² + |b|² - 2 a·b in float32, in units of |a|² + |b|².

    n products added up are off by at most n units of rounding (Higham 2002, section 3.1), here
    those of the norms and of a·b, of which twice is at most the sum of the squared norms.
    """
    tf32 = x.is_cuda and torch.backends.cuda.matmul.allow_tf32
    return (2 * x.shape[1] + 16) * 2.0**-24 + (2.0**-10 if tf32 else 0)


def _candidates(
    queries: torch.Tensor, references: torch.Tensor, sums: torch.Tensor, best: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs that may be as near as the best: `best` has squared distances.

    `sums` has the sum of the squared norms of each pair. Every query's nearest of these references
    is among its pairs, unless it is farther than the best already found. Pairs are in order of
    queries and then of references.
    """
    squared = torch.addmm(sums, queries, references.T, alpha=-2)
    error = sums.mul_(_slack(queries))
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
