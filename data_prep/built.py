"""What a data set's builder hands to `data_prep.prepare`, which writes it."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split. `images` yields chunks of uint8 n x C x H x W, `count` images in all, and is
    closed after use; `arrays` stand beside them in the `.npz` (labels, factors, ...)."""

    count: int
    images: Generator[np.ndarray, None, None]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """A data set ready to be written; its splits are consumed in their order."""

    image_shape: tuple[int, int, int]
    splits: dict[str, Split]
    # What of the official data set is missing, in one sentence; None when it is complete.
    subset: str | None = None
    left_out: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    # Names and checksums of what it was made from.
    raw: dict[str, Any] = field(default_factory=dict)
    # Further keys of the manifest.
    extra: dict[str, Any] = field(default_factory=dict)
    # Ends the summary line.
    remark: str = ""


def one_chunk(images: np.ndarray) -> Generator[np.ndarray, None, None]:
    """The images of a split that is in memory as a whole."""
    yield images


def enumerate_words(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
