"""CelebA's JPEG files to square uint8 images. Runs in worker processes: imports little."""

import io
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_prep.celeba_images import Images
from data_prep.options import CELEBA_HEIGHT, CELEBA_WIDTH
from data_prep.pool import in_order
from study.errors import StudyError, one_line

RESAMPLE = "bilinear (Pillow, antialiased)"
CHUNK = 64
# Of large images fewer are decoded at a time, so that what is in flight stays small.
CHUNK_BYTES = 16 << 20
# The marker that ends every JPEG (ITU-T T.81, table B.1: EOI).
END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class Frame:
    """A centre crop of `crop` x `crop` pixels (None: the whole frame), resized to `size`."""

    size: int
    crop: int | None


def centre_box(width: int, height: int, crop: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the centre crop, rounded as torchvision's CenterCrop does:
    half to even, so 20 of 218 rows go above a crop of 178."""
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return left, top, left + crop, top + crop


def decode(content: bytes, where: str, frame: Frame) -> np.ndarray:
    """uint8 3 x size x size of a JPEG; StudyError, which names `where`, if it is not as it should
    be: 178 x 218 pixels, RGB, whole."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            _check(image, where)
            _check_end(content, where)
            whole = image if frame.crop is None else image.crop(centre_box(*image.size, frame.crop))
            square = whole.resize((frame.size, frame.size), Image.Resampling.BILINEAR)
    except StudyError:
        raise
    except Exception as error:  # Pillow answers damaged files with errors of many kinds.
        raise StudyError(f"{where}: cannot be decoded as JPEG ({one_line(error)})") from None
    return np.asarray(square).transpose(2, 0, 1)


def _check(image: Image.Image, where: str) -> None:
    if image.size != (CELEBA_WIDTH, CELEBA_HEIGHT):
        raise StudyError(
            f"{where}: {image.width} x {image.height} pixels, the aligned and cropped images have "
            f"{CELEBA_WIDTH} x {CELEBA_HEIGHT}"
        )
    if image.mode != "RGB":
        raise StudyError(f"{where}: its colours are {image.mode}, RGB is wanted")


def _check_end(content: bytes, where: str) -> None:
    # A broken-off copy may have its full length, with zeros where the rest should be, and the
    # decoder takes zeros for picture data without a word.
    if not content.endswith(END_OF_IMAGE):
        raise StudyError(
            f"{where}: cut short or damaged, a JPEG ends with the bytes "
            f"{END_OF_IMAGE.hex(' ').upper()} (end of image), this one with "
            f"{content[-2:].hex(' ').upper()}; fetch it again"
        )


def _decode_chunk(task: tuple[Images, Frame]) -> np.ndarray:
    images, frame = task
    return np.stack([decode(content, where, frame) for where, content in images.read()])


def decoded(images: Images, frame: Frame, workers: int) -> Generator[np.ndarray, None, None]:
    """The images in order, in chunks of uint8 n x 3 x size x size."""
    count = len(images.numbers)
    step = max(1, min(CHUNK, CHUNK_BYTES // (3 * frame.size**2)))
    tasks = ((images.select(slice(first, first + step)), frame) for first in range(0, count, step))
    # Processes take longer to start than a chunk takes to decode.
    return in_order(_decode_chunk, tasks, 1 if count <= step else workers)
