"""What batches are held against."""

import numpy as np
import torch

from train.dataset import ImageDataset
from train.loader import BatchLoader


def floats(data: ImageDataset) -> torch.Tensor:
    """All images as they have ever been scaled: divided by 255 in float32 on the CPU."""
    return torch.from_numpy(data.images.astype(np.float32) / np.float32(255))


def drawn(batches: BatchLoader, epoch: int, start: int = 0) -> list[torch.Tensor]:
    return [batch.data.cpu() for batch in batches.batches(epoch, start)]
