"""Random draws in image order, the same whatever the batch size, and what a sampler is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

# What draws are for. Each has a stream of its own: were the draw from a sample's posterior the one
# that the sample was made of, it would lead back to the sample.
SAMPLES, COMPONENTS, POSTERIOR, AGGREGATE, FITTING, IMPORTANCE = range(6)
# Of the measured split's latents, and of the training split's.
LATENTS, TRAINING_LATENTS = 6, 7


class Noise:
    """Random draws in image order, the same whatever the batch size or the device.

    numpy's generator fills an array value after value, so ten draws of one image are the draws
    of a batch of ten; torch's generators do not promise that. Streams of one seed (`SAMPLES` and
    its like) are independent of each other, and so are the blocks of a stream.
    """

    def __init__(self, seed: int, stream: int, block: int = 0) -> None:
        key = (stream, block) if block else (stream,)
        self.generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

    def draw(self, *shape: int) -> torch.Tensor:
        """float32 N(0, 1) of `shape`, images first."""
        return torch.from_numpy(self.generator.standard_normal(shape, dtype=np.float32))

    def uniform(self, *shape: int) -> np.ndarray:
        """float64 of `shape` in [0, 1), images first."""
        return self.generator.random(shape)


@dataclass(frozen=True)
class Sampler:
    """A way to draw latents for generations; `draw(n)` gives the next n of one fixed sequence."""

    key: str
    title: str
    definition: str
    draw: Callable[[int], torch.Tensor]


class Blocks:
    """The rows that `make` gives, always made so many at a time, handed out in any portions.

    The last bits of a matrix product depend on its size, and a code hangs on a bit at times: only
    rows made in the same blocks are the same rows.
    """

    SIZE = 256

    def __init__(self, make: Callable[[int], np.ndarray]) -> None:
        self.make = make
        self.left: np.ndarray | None = None

    def draw(self, count: int) -> torch.Tensor:
        """The next `count` rows, on the CPU."""
        blocks = [] if self.left is None else [self.left]
        while not blocks or sum(map(len, blocks)) < count:
            blocks.append(self.make(self.SIZE))
        rows = np.concatenate(blocks)
        self.left = rows[count:]
        return torch.from_numpy(rows[:count])


def draw_codes(u: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """Codes by inverse transform: u in [0, 1), any shape, and the K cumulative counts."""
    total = float(cumulative[-1])
    # Rounding may take the largest u to the total itself, where no code is.
    return np.searchsorted(cumulative, np.minimum(u * total, np.nextafter(total, 0)), side="right")
