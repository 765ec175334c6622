"""Mean and second moments of vectors that come in blocks (Chan, Golub & LeVeque 1983).

doi:10.1080/00031305.1983.10483115: each block is centred on its own mean and merged by the pairwise
update, so that a large mean costs no digits and the order of the blocks changes rounding alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch


class BaseMoments(ABC):
    """Sums of N vectors of D values, in float64, on the device of the latest block.

    A subclass says which products of the deviations from the mean it keeps.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: torch.Tensor | None = None
        self._scatter: torch.Tensor | None = None

    @staticmethod
    @abstractmethod
    def _products(deviations: torch.Tensor) -> torch.Tensor:
        """N x D deviations -> the sum over N of their products."""

    def add(self, block: torch.Tensor) -> None:
        """Take in a block, B x D (or B x ..., flattened)."""
        if not len(block):
            return
        rows = block.flatten(1).double()
        mean = rows.mean(0)
        self._merge(len(rows), mean, self._products(rows - mean))

    def merge(self, other: Self) -> None:
        """Take in what another has seen, which stays as it is."""
        if other._mean is not None and other._scatter is not None:
            self._merge(other.count, other._mean, other._scatter)

    def _merge(self, count: int, mean: torch.Tensor, scatter: torch.Tensor) -> None:
        if self._mean is None or self._scatter is None:
            self.count, self._mean, self._scatter = count, mean.clone(), scatter.clone()
            return
        total = self.count + count
        delta = mean - self._mean.to(mean)
        between = self._products(delta[None]) * (self.count * count / total)
        self._scatter = self._scatter.to(scatter) + scatter + between
        self._mean = self._mean.to(mean) + delta * (count / total)
        self.count = total

    @property
    def mean(self) -> torch.Tensor:
        """The mean, D. ValueError where nothing was added."""
        if self._mean is None:
            raise ValueError("no vectors were added")
        return self._mean

    def _unbiased(self) -> torch.Tensor:
        if self._scatter is None or self.count < 2:
            raise ValueError(f"a variance needs at least 2 vectors, has {self.count}")
        return self._scatter / (self.count - 1)

    def state(self) -> dict[str, np.ndarray]:
        """All there is to go on from, as arrays for an .npz; `of` reads it."""
        nothing = torch.zeros(0, dtype=torch.float64)
        parts = {"mean": self._mean, "scatter": self._scatter}
        arrays = {key: nothing if part is None else part for key, part in parts.items()}
        return {"count": np.array(self.count)} | {
            key: part.cpu().numpy().copy() for key, part in arrays.items()
        }

    @classmethod
    def of(cls, state: Mapping[str, np.ndarray]) -> Self:
        """What `state` gave, on the CPU."""
        made = cls()
        made.count = int(state["count"])
        if made.count:
            made._mean = torch.tensor(state["mean"], dtype=torch.float64)
            made._scatter = torch.tensor(state["scatter"], dtype=torch.float64)
        return made


class DiagonalMoments(BaseMoments):
    """Means and variances of each of the D values."""

    @staticmethod
    def _products(deviations: torch.Tensor) -> torch.Tensor:
        return deviations.pow(2).sum(0)

    @property
    def variance(self) -> torch.Tensor:
        """Unbiased variances, D. ValueError for fewer than two vectors."""
        return self._unbiased()
