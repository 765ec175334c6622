"""Image files to arrays, whatever the data set: in chunks, in order, spread over processes.

Also which files cannot be decoded, found before anything is written: a `.npz` begins with its
number of images, and split, limits and what the manifest says of them are then settled too. The
price, every file decoded twice, is paid only by whoever asks for `skip_corrupt`. (To write first
and correct that number afterwards would cost a second pass over the file, for its checksum.)
"""

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from data_prep.pool import in_order
from study.errors import StudyError, one_line
from study.progress import progress

RESAMPLE = "bilinear (Pillow, antialiased)"
CHUNK = 64
# Of large images fewer are decoded at a time, so that what is in flight stays small.
CHUNK_BYTES = 16 << 20

Chunks = Generator[np.ndarray, None, None]
# uint8 C x H x W of a file's content; its second argument is what an error calls the file.
Decode = Callable[[bytes, str], np.ndarray]


class BadImage(StudyError):
    """One file that cannot be used: `where` names it in full, `reason` says what is wrong."""

    def __init__(self, where: str, reason: str) -> None:
        # Both as arguments, from which it is put together again when it leaves a worker process.
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class ImageFiles(Protocol):
    """Files in an order; goes to worker processes in parts."""

    def __len__(self) -> int: ...

    def select(self, chosen: Any) -> "ImageFiles":
        """Those at these places (indices, a mask or a slice)."""

    def read(self) -> Iterator[tuple[str, bytes]]:
        """What an error calls the file, and its content, of each; BadImage for an unreadable."""


Files = TypeVar("Files", bound=ImageFiles)


def read_file(path: Path) -> bytes:
    """The file's content; BadImage where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage(str(path), error.strerror or one_line(error)) from None


def centre_box(width: int, height: int, crop: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the centre crop, rounded as torchvision's CenterCrop does:
    half to even, so 20 of 218 rows go above a crop of 178."""
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return left, top, left + crop, top + crop


def _decode_chunk(task: tuple[ImageFiles, Decode]) -> np.ndarray:
    images, decode = task
    return np.stack([decode(content, where) for where, content in images.read()])


def _refusals_of_chunk(task: tuple[ImageFiles, Decode]) -> list[str | None]:
    images, decode = task
    reasons: list[str | None] = []
    for place in range(len(images)):
        try:
            for where, content in images.select(slice(place, place + 1)).read():
                decode(content, where)
            reasons.append(None)
        except BadImage as error:
            reasons.append(error.reason)
    return reasons


def _over(images: ImageFiles, decode: Decode, step: int, work: Callable, workers: int) -> Generator:
    parts = (images.select(slice(at, at + step)) for at in range(0, len(images), step))
    # Processes take longer to start than a chunk takes to decode.
    return in_order(work, ((part, decode) for part in parts), 1 if len(images) <= step else workers)


def decoded(
    images: ImageFiles, decode: Decode, shape: tuple[int, int, int], workers: int, what: str
) -> Chunks:
    """The images in order, in chunks of uint8 n x `shape`; `what` stands before the progress bar.

    BadImage for the first that cannot be decoded.
    """
    step = max(1, min(CHUNK, CHUNK_BYTES // math.prod(shape)))
    chunks = _over(images, decode, step, _decode_chunk, workers)
    with closing(chunks), progress(len(images), what, "image") as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(chunk))


def refusals(images: ImageFiles, decode: Decode, workers: int, what: str) -> dict[int, str]:
    """Places of the images that cannot be decoded, and why; StudyError where none can be."""
    found: dict[int, str] = {}
    seen = 0
    chunks = _over(images, decode, CHUNK, _refusals_of_chunk, workers)
    with closing(chunks), progress(len(images), f"{what}, check", "image") as bar:
        for reasons in chunks:
            found |= {seen + i: reason for i, reason in enumerate(reasons) if reason is not None}
            seen += len(reasons)
            bar.update(len(reasons))
    if found and len(found) == len(images):
        raise StudyError(f"{what}: none of the {seen:,} images can be used; the first: {found[0]}")
    return found


def without(images: Files, places: dict[int, Any]) -> Files:
    """The images at all other places."""
    kept = np.ones(len(images), bool)
    kept[list(places)] = False
    return images.select(kept)
