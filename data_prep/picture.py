"""Pictures as people have them, to square uint8 images. Runs in worker processes.

Formats are those that Pillow decodes by itself: none that starts another program (EPS does).
"""

import io
import re
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from data_prep.decoding import BadImage, centre_box
from study.errors import RunFailed, one_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".pbm", ".pgm", ".ppm"),
)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr")
# A JPEG marker among entropy-coded data: FF and neither a stuffed zero, nor a restart, nor filling
# (ITU-T T.81, B.1.1.2 and B.1.1.5).
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_END, _SCAN = 0xD9, 0xDA


@dataclass(frozen=True)
class Frame:
    """What becomes of a picture: a crop in its middle (the largest square, N x N pixels, none),
    then a resize to `size` x `size`; `channels` 3 is RGB, 1 is grey."""

    size: int
    crop: Literal["square", "none"] | int
    channels: int


def decode(content: bytes, where: str, frame: Frame) -> np.ndarray:
    """uint8 channels x size x size of a picture file, the way up that its EXIF says.

    16-bit grey is scaled to 8 bits, what is transparent lies on white, CMYK is converted without a
    colour profile. BadImage for what is damaged, smaller than wanted, animated or of 32 bits.
    """
    try:
        with warnings.catch_warnings():
            # What Pillow warns of, it decodes; a worker has nobody to tell.
            warnings.simplefilter("ignore")
            return _decode(content, where, frame)
    except BadImage:
        raise
    except MemoryError:  # That says nothing of the file.
        raise RunFailed(f"{where}: no memory to decode it; fewer --workers need less") from None
    except Image.UnidentifiedImageError:
        raise BadImage(where, f"no picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow answers damaged files with errors of many kinds.
        raise BadImage(where, f"cannot be decoded ({one_line(error)})") from None


def _decode(content: bytes, where: str, frame: Frame) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        # A phone's JPEG may hold a second picture, such as a depth map (MPO): the first is meant.
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise BadImage(where, f"holds {frames} pictures, one is wanted")
        if image.format in ("JPEG", "MPO") and not jpeg_is_whole(content):
            raise BadImage(where, "cut short or damaged: its picture data do not end")
        upright = ImageOps.exif_transpose(image)
        plain = _eight_bits(upright, image.format, where)
        coloured = plain.convert("L" if frame.channels == 1 else "RGB")
    cropped = coloured.crop(_box(coloured, where, frame))
    square = cropped.resize((frame.size, frame.size), Image.Resampling.BILINEAR)
    array = np.asarray(square)
    return array[None] if frame.channels == 1 else array.transpose(2, 0, 1)


def _eight_bits(image: Image.Image, file_format: str | None, where: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PNG"):
        # Some releases of Pillow open a PNG of 16 bits as one of 32, with the same values.
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(values.round().astype(np.uint8))
    if image.mode not in MODES:
        raise BadImage(
            where,
            f"its colours are {image.mode}, in which what is white is not known; save it with 8 "
            f"or 16 bits",
        )
    if image.has_transparency_data:
        # Laid on white before the resize: what colour a transparent pixel has means nothing.
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _box(image: Image.Image, where: str, frame: Frame) -> tuple[int, int, int, int]:
    shorter = min(image.size)
    wanted = frame.crop if isinstance(frame.crop, int) else frame.size
    if shorter < wanted:
        what = "--crop" if isinstance(frame.crop, int) else "--image-size"
        raise BadImage(
            where,
            f"{image.width} x {image.height} pixels, {wanted} each way are wanted ({what}); "
            f"nothing is enlarged",
        )
    if frame.crop == "none":
        return 0, 0, *image.size
    return centre_box(*image.size, shorter if frame.crop == "square" else frame.crop)


def jpeg_is_whole(content: bytes) -> bool:
    """Whether a JPEG's picture data come to their end marker.

    A broken-off copy may have its full length, with zeros where the rest should be, and the
    decoder takes zeros for picture data without a word. What follows the marker may be anything.
    """
    at, scanned = 2, False
    while found := (_MARKER.search if scanned else _MARKER.match)(content, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            return True
        # Any other marker begins a segment that says how long it is; a scan's data come after it.
        at += int.from_bytes(content[at : at + 2], "big")
        scanned = scanned or marker == _SCAN
    return False
