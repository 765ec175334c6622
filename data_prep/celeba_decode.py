"""CelebA's JPEG files to square uint8 images. Runs in worker processes: imports little."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_prep.decoding import BadImage, centre_box
from data_prep.options import CELEBA_HEIGHT, CELEBA_WIDTH
from study.errors import RunFailed, one_line

# The marker that ends every JPEG (ITU-T T.81, table B.1: EOI).
END_OF_IMAGE = b"\xff\xd9"
PUBLISHED = (CELEBA_WIDTH, CELEBA_HEIGHT)
HALF = (CELEBA_WIDTH // 2, CELEBA_HEIGHT // 2)


@dataclass(frozen=True)
class Frame:
    """A centre crop of `crop` x `crop` published pixels (None: the whole frame), resized to `size`.

    `half`: the files hold half as many pixels each way, and so does the crop.
    """

    size: int
    crop: int | None
    half: bool = False


def decode(content: bytes, where: str, frame: Frame) -> np.ndarray:
    """uint8 3 x size x size of a JPEG; BadImage, which names `where`, if it is not as it should
    be: 178 x 218 pixels (89 x 109 at half size), RGB, whole."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            _check(image, where, frame.half)
            _check_end(content, where)
            whole = image if frame.crop is None else image.crop(_box(image, frame))
            square = whole.resize((frame.size, frame.size), Image.Resampling.BILINEAR)
    except BadImage:
        raise
    except MemoryError:  # That says nothing of the file.
        raise RunFailed(f"{where}: no memory to decode it; fewer --workers need less") from None
    except Exception as error:  # Pillow answers damaged files with errors of many kinds.
        raise BadImage(where, f"cannot be decoded as JPEG ({one_line(error)})") from None
    return np.asarray(square).transpose(2, 0, 1)


def _box(image: Image.Image, frame: Frame) -> tuple[int, int, int, int]:
    return centre_box(*image.size, frame.crop // 2 if frame.half else frame.crop)


def _check(image: Image.Image, where: str, half: bool) -> None:
    width, height = HALF if half else PUBLISHED
    if image.size != (width, height):
        kind = "aligned and cropped images at half size" if half else "aligned and cropped images"
        hint = "; --half-size takes these" if not half and image.size == HALF else ""
        raise BadImage(
            where,
            f"{image.width} x {image.height} pixels, the {kind} have {width} x {height}{hint}",
        )
    if image.mode != "RGB":
        raise BadImage(where, f"its colours are {image.mode}, RGB is wanted")


def _check_end(content: bytes, where: str) -> None:
    # A broken-off copy may have its full length, with zeros where the rest should be, and the
    # decoder takes zeros for picture data without a word.
    if not content.endswith(END_OF_IMAGE):
        raise BadImage(
            where,
            f"cut short or damaged, a JPEG ends with the bytes "
            f"{END_OF_IMAGE.hex(' ').upper()} (end of image), this one with "
            f"{content[-2:].hex(' ').upper()}; fetch it again",
        )
