"""How near samples lie to images: to the measured split, to the training split, and, of a data
set that holds every valid image, to the valid ones."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from evaluate.metric import as_published
from evaluate.metrics.finite import coverage_at, kl_from_uniform
from evaluate.metrics.nearest import nearest
from study.datasets import Dataset
from study.schema import FiniteData

# Images that samples are compared with at a time.
_AT_ONCE = 1024


def _shown(images: np.ndarray, device: torch.device) -> Iterator[torch.Tensor]:
    """uint8 images as blocks of flat float32 vectors in [0, 1]."""
    for start in range(0, len(images), _AT_ONCE):
        # As bytes to the device: a quarter of what floats would be.
        block = torch.from_numpy(np.ascontiguousarray(images[start : start + _AT_ONCE]))
        yield block.to(device).flatten(1).float().div_(255)


@dataclass(frozen=True)
class Neighbours:
    """The images that samples are held against: uint8 N x C x H x W, mapped."""

    data: np.ndarray
    training: np.ndarray
    finite: "ValidImages | None" = None

    def distances(self, samples: torch.Tensor) -> dict[str, np.ndarray]:
        """Of B samples the root mean square distance to the nearest image of each, and which
        training image that was (`nearest`)."""
        queries = samples.flatten(1)
        scale = math.sqrt(queries.shape[1])
        data, _ = nearest(queries, _shown(self.data, samples.device))
        training, index = nearest(queries, _shown(self.training, samples.device))
        return {
            "value.NN data": data.cpu().numpy() / scale,
            "value.NN train": training.cpu().numpy() / scale,
            "nearest": index.cpu().numpy(),
        }


class ValidImages:
    """Every configuration of a finite data set, and which of them have one image."""

    def __init__(self, dataset: Dataset, how: FiniteData) -> None:
        self.how = how
        self.splits = [dataset.images(split) for split in dataset.splits()]

    @property
    def configurations(self) -> int:
        """How many there are, an image that stands twice counted twice."""
        return sum(len(images) for images in self.splits)

    @cached_property
    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        flat = np.concatenate([images.reshape(len(images), -1) for images in self.splits])
        return np.unique(flat, axis=0, return_inverse=True)

    @property
    def images(self) -> np.ndarray:
        """The distinct images, uint8 N x C x H x W, in a fixed order; in memory, as bytes."""
        return self._distinct[0].reshape(-1, *self.splits[0].shape[1:])

    @cached_property
    def which(self) -> torch.Tensor:
        """For each configuration the number of its image among the distinct ones."""
        return torch.from_numpy(self._distinct[1].astype(np.int64).ravel())

    @property
    def count(self) -> int:
        """How many distinct images there are."""
        return len(self._distinct[0])

    @property
    def draws(self) -> int:
        """How many samples all of its metrics together ask for."""
        return max(self.how.samples, self.how.distance_samples, self.configurations)

    def nearest(self, samples: torch.Tensor) -> dict[str, np.ndarray]:
        """Of B samples the Euclidean distance to the nearest valid image, and which configuration
        that is: of those with the same image the first."""
        blocks = (block for images in self.splits for block in _shown(images, samples.device))
        distance, index = nearest(samples.flatten(1), blocks)
        return {"valid.distance": distance.cpu().numpy(), "valid.index": index.cpu().numpy()}

    def numbers(self, distance: torch.Tensor, index: torch.Tensor) -> dict[str, float]:
        """coverage@t, D_KL and how many images there are by key, as defined and as published."""
        how = self.how
        reached, near = index[: how.samples], distance[: how.samples]
        distinct = self.which[reached]
        epsilon = how.epsilon
        return {
            "coverage@t": coverage_at(near, distinct, self.count, how.threshold),
            "D_KL": kl_from_uniform(self.which[index[: self.count]], self.count, epsilon),
            as_published("coverage@t"): coverage_at(
                near, reached, self.configurations, how.threshold
            ),
            as_published("D_KL"): kl_from_uniform(
                index[: self.configurations], self.configurations, epsilon
            ),
            "distinct images": float(self.count),
            as_published("distinct images"): float(self.configurations),
        }
