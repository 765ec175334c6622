"""CelebA's JPEG files, in a folder or in the published zip, told by their numbers.

A zip is not kept open: `zipfile` holds an object for each of 202,599 members. Where each member
lies is kept in one array instead, a worker gets the part of it that it needs.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from data_prep.celeba_index import file_name, file_number
from data_prep.decoding import BadImage, read_file
from study.errors import StudyError, describe_os_error, one_line

FOLDER = "img_align_celeba"
ARCHIVE = f"{FOLDER}.zip"
MEMBER = np.dtype(
    [
        ("number", "i4"),
        ("method", "u1"),
        ("crc", "u4"),
        ("offset", "i8"),
        ("packed", "i8"),
        ("size", "i8"),
    ]
)


@dataclass(frozen=True)
class Images:
    """Image files by number, ascending: `path` is a folder, or a zip with `members` (MEMBER)."""

    path: Path
    numbers: np.ndarray
    members: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, chosen: np.ndarray | slice) -> "Images":
        """Those at these places (indices or a mask)."""
        members = None if self.members is None else self.members[chosen]
        return Images(self.path, self.numbers[chosen], members)

    def where(self, number: int) -> str:
        """What an error calls the image."""
        if self.members is None:
            return str(self.path / file_name(number))
        return f"{self.path}: {FOLDER}/{file_name(number)}"

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Name (for errors) and content of each, in order; BadImage names what is unreadable."""
        if self.members is None:
            for number in self.numbers:
                yield self.where(number), read_file(self.path / file_name(number))
            return
        try:
            with open(self.path, "rb") as file:
                for member in self.members:
                    where = self.where(member["number"])
                    yield where, _read_member(file, member, where)
        except OSError as error:
            raise StudyError(describe_os_error(error)) from None


def find_images(raw: Path) -> Images:
    """The images in `raw`: its folder `img_align_celeba`, or else `img_align_celeba.zip`."""
    folder, archive = raw / FOLDER, raw / ARCHIVE
    if folder.is_dir():
        images = Images(folder, _folder_numbers(folder))
    elif archive.is_file():
        members = _zip_members(archive)
        images = Images(archive, members["number"].copy(), members)
    else:
        raise StudyError(f"{folder}: missing, and no {ARCHIVE} beside it either")
    if not len(images.numbers):
        raise StudyError(
            f"{images.path}: no image in it; files such as {FOLDER}/{file_name(1)} are wanted"
        )
    order = np.argsort(images.numbers, kind="stable")
    return images.select(order)


def _image_number(name: str, where: Path) -> int | None:
    """The number of an image's file; None for other files; StudyError for an odd JPEG name."""
    if name.startswith(".") or not name.lower().endswith((".jpg", ".jpeg")):
        return None
    number = file_number(name)
    if number is None:
        raise StudyError(
            f"{where}: '{name}' is no image of CelebA; they are named such as {file_name(1)}"
        )
    return number


def _folder_numbers(folder: Path) -> np.ndarray:
    with os.scandir(folder) as entries:
        numbers = (_image_number(entry.name, folder) for entry in entries)
        return np.fromiter((n for n in numbers if n is not None), np.int32)


def _zip_members(path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            rows = (_member_row(info, path) for info in archive.infolist())
            members = np.fromiter((row for row in rows if row is not None), MEMBER)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise StudyError(f"{path}: no whole zip file ({error}); fetch it again") from None
    numbers, counts = np.unique(members["number"], return_counts=True)
    if (counts > 1).any():
        raise StudyError(f"{path}: {file_name(numbers[counts > 1][0])} stands in it twice")
    return members


def _member_row(info: zipfile.ZipInfo, path: Path) -> tuple[int, ...] | None:
    folder, _, name = info.filename.rpartition("/")
    number = _image_number(name, path) if folder == FOLDER else None
    if number is None:
        return None
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise StudyError(
            f"{path}: {info.filename} is encrypted or packed in an unusual way; "
            f"unpack it into {FOLDER}/"
        )
    return (
        number,
        info.compress_type,
        info.CRC,
        info.header_offset,
        info.compress_size,
        info.file_size,
    )


def _read_member(file: IO[bytes], member: np.void, where: str) -> bytes:
    """A member's content: local header (30 bytes + name + extra field, PKWARE APPNOTE 4.3.7), then
    the data, stored or raw deflate."""
    try:
        file.seek(int(member["offset"]))
        local = file.read(30)
        name_length, extra_length = struct.unpack("<4s22xHH", local)[1:]
        if not local.startswith(b"PK\3\4"):
            raise ValueError("no member begins where the zip says so")
        file.seek(name_length + extra_length, os.SEEK_CUR)
        content = file.read(int(member["packed"]))
        if member["method"] == zipfile.ZIP_DEFLATED:
            # No more than was announced, whatever a damaged stream would unpack to.
            content = zlib.decompressobj(-15).decompress(content, int(member["size"]) + 1)
        if len(content) != member["size"] or zlib.crc32(content) != member["crc"]:
            raise ValueError("its checksum is wrong")
    except (ValueError, struct.error, zlib.error) as error:
        raise BadImage(where, f"damaged ({error}); fetch the zip again") from None
    except OSError as error:
        raise BadImage(where, error.strerror or one_line(error)) from None
    return content
