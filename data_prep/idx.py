"""IDX, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist, "file format").

Two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as a
big-endian 32-bit number, then the values in row-major order, big-endian.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

from study.errors import StudyError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def find(folder: Path, name: str) -> Path:
    """`name` in `folder`, or else `name`.gz; StudyError where there is neither."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise StudyError(
        f"{folder / name}: missing, and no {name}.gz beside it; the folder must hold "
        f"the four files under their published names"
    )


def read_bytes(path: Path) -> bytes:
    """The file's content, unpacked where its name ends in .gz; StudyError when that is damaged."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StudyError(f"{path}: no whole gzip file ({error}); fetch it again") from None


def parse(content: bytes, path: Path) -> np.ndarray:
    """The array of an IDX file, a read-only view; `path` is what StudyError names."""
    known = len(content) >= 4 and content[:2] == b"\0\0" and content[2] in TYPES
    if not known or content[3] == 0:
        raise StudyError(f"{path}: no IDX file, it begins with {content[:4].hex(' ') or 'nothing'}")
    kind, dimensions = np.dtype(TYPES[content[2]]), content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise StudyError(f"{path}: cut short in its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    wanted = start + kind.itemsize * int(np.prod(shape, dtype=object))
    if len(content) != wanted:
        raise StudyError(
            f"{path}: {len(content):,} bytes (unpacked), its header announces "
            f"{wanted:,}; fetch it again"
        )
    return np.frombuffer(content, kind, offset=start).reshape(shape)


def read(folder: Path, name: str, md5: str) -> np.ndarray:
    """The array in `name` or `name`.gz, whose unpacked content must have this MD5."""
    path = find(folder, name)
    content = read_bytes(path)
    array = parse(content, path)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise StudyError(f"{path}: MD5 (unpacked) {found}, published is {md5}; fetch it again")
    return array
