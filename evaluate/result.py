"""What is measured, batch by batch and block by block, put together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from evaluate.sets import FeatureSet


class Values:
    """Per-image values of many batches, by key."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, values: Mapping[str, torch.Tensor | np.ndarray]) -> None:
        for key, value in values.items():
            array = value.double().cpu().numpy() if isinstance(value, torch.Tensor) else value
            self.parts.setdefault(key, []).append(array)

    def whole(self) -> dict[str, np.ndarray]:
        """N each, images in order."""
        return {key: np.concatenate(arrays) for key, arrays in self.parts.items()}


@dataclass
class Result:
    """What was measured on a split: values per image, numbers per split, and the data's own.

    `diversity`, `sharpness` and `features` are those of the original images, which generations
    are held against (None: not defined, for a single image say); `missing` says why a number of
    the split is not there.
    """

    per_image: dict[str, np.ndarray]
    per_split: dict[str, float] = field(default_factory=dict)
    diversity: float | None = None
    sharpness: float | None = None
    features: dict[str, FeatureSet] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def mean_image_mse(self) -> float | None:
        """MSE of the split's mean image in place of each reconstruction: what no model should miss.

        The squared distance of two distinct images is on average twice the unbiased variance.
        """
        count = len(self.per_image["MSE"])
        return None if self.diversity is None else self.diversity**2 / 2 * (count - 1) / count


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
