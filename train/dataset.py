"""Mapped uint8 images as a `torch.utils.data.Dataset` that Pythae's trainers take."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pythae.data.datasets import DatasetOutput
from torch.utils.data import Dataset

from study.npz import check_images, open_array
from train.staging import stage_folder, staged


def to_unit(images: np.ndarray) -> torch.Tensor:
    """uint8 images 0..255 as float32 in [0, 1], same shape."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32).div_(255)


class ImageDataset(Dataset):
    """Images in [0, 1], read from a mapped `.npz` and scaled a batch at a time.

    The whole set never exists as floats: `BatchLoader` gathers the bytes of a batch out of
    `images`; a `DataLoader` (Pythae's checks have one) asks `__getitems__` for those of a batch's
    indices and no others.
    """

    def __init__(self, path: Path, stage_to: str | None = None) -> None:
        """`path`: an `.npz` whose `data` is uint8, N x C x H x W. `stage_to`: a folder of the
        machine's own disk that the images are copied to when first asked for, `$VARIABLES` and ~
        filled in; StudyError where a variable is not set."""
        self.path = path
        self._folder = None if stage_to is None else stage_folder(stage_to)

    @cached_property
    def file(self) -> np.ndarray:
        """The array mapped where the data lie: for a look, or to be read once from end to end."""
        return check_images(open_array(self.path, "data"), str(self.path))

    @cached_property
    def images(self) -> np.ndarray:
        """The array to gather from, staged by whoever asks first; `file` where nothing is."""
        if self._folder is None:
            return self.file
        copy = staged(self.file, self.path, self._folder)
        if copy is None:
            self._folder = None
            return self.file
        return copy

    def where(self) -> str:
        """Where `images` is mapped from, in words."""
        staged_to = self.images is not self.file
        return f"the copy of {self.path} in {self._folder}" if staged_to else str(self.path)

    def __getstate__(self) -> dict[str, Path | None]:
        # Pickled for a worker process, a mapped array would become a copy of all images; and
        # that process is not to stage them once more.
        return {"path": self.path, "_folder": None}

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int) -> DatasetOutput:
        return DatasetOutput(data=to_unit(self.file[index]))

    def __getitems__(self, indices: list[int]) -> list[DatasetOutput]:
        return [DatasetOutput(data=image) for image in to_unit(self.file[indices])]
