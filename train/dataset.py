"""Mapped uint8 images as a `torch.utils.data.Dataset` that Pythae's trainers take."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pythae.data.datasets import DatasetOutput
from torch.utils.data import Dataset

from study.npz import check_images, open_array


def to_unit(images: np.ndarray) -> torch.Tensor:
    """uint8 images 0..255 as float32 in [0, 1], same shape."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32).div_(255)


class ImageDataset(Dataset):
    """Images in [0, 1], read from a mapped `.npz` and scaled a batch at a time.

    The whole set never exists as floats: the loader asks `__getitems__` for a batch's indices,
    which gathers those images and no others.
    """

    def __init__(self, path: Path, stage_to=None) -> None:
        """`path`: an `.npz` whose `data` is uint8, N x C x H x W."""
        self.path = path

    @cached_property
    def images(self) -> np.ndarray:
        """The mapped array, opened by whoever asks first."""
        return check_images(open_array(self.path, "data"), str(self.path))

    def __getstate__(self) -> dict[str, Path]:
        # Pickled for a worker process, a mapped array would become a copy of all images.
        return {"path": self.path}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> DatasetOutput:
        return DatasetOutput(data=to_unit(self.images[index]))

    def __getitems__(self, indices: list[int]) -> list[DatasetOutput]:
        return [DatasetOutput(data=image) for image in to_unit(self.images[indices])]
