"""Arrays out of `.npz` files without reading them: a stored member is memory-mapped in place.

`numpy.load(..., mmap_mode="r")` ignores the mode for `.npz` and reads a member again at each
access. A member that is stored, not compressed, lies in the zip as a plain `.npy`, so its
bytes can be mapped: local header (30 bytes + name + extra field, PKWARE APPNOTE 4.3.7), then
the `.npy` header, then the data. No object array is ever accepted: unpickling runs code.
"""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from study.errors import StudyError, describe_os_error
from study.files import write_arrays

# What zipfile, zlib and numpy raise on damaged, encrypted or oddly packed files.
DAMAGE = (
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def _npy_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f".npy version {version} is not supported")


def _map_member(path: Path, info: zipfile.ZipInfo) -> np.ndarray:
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
        name_length, extra_length = struct.unpack("<HH", local[26:30])
        start = info.header_offset + 30 + name_length + extra_length
        file.seek(start)
        shape, fortran, dtype = _npy_header(file)
        offset = file.tell()
    if dtype.hasobject:
        raise ValueError("an object array, which would run code when read")
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if start + info.file_size != offset + size:
        raise ValueError("its header and its length disagree")
    if size == 0:
        return np.empty(shape, dtype)
    # "c": copy on write. Never written to disk, and torch takes it without a warning.
    order = "F" if fortran else "C"
    return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape, order=order)


def member_names(path: Path) -> list[str]:
    """The names of the arrays in an `.npz`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except DAMAGE:
        raise StudyError(f"{path}: not an .npz file, or cut short; make it again") from None
    except OSError as error:
        raise StudyError(describe_os_error(error)) from None


def open_array(path: Path, key: str) -> np.ndarray:
    """The array `key` of an `.npz`: memory-mapped (copy on write) where stored, loaded where
    compressed. StudyError for a missing file or key, an object array, a damaged file."""
    names = member_names(path)
    if key not in names:
        raise StudyError(f"{path}: no array '{key}' in it; it has {', '.join(names) or 'none'}")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(key + ".npy")
            if info.compress_type == zipfile.ZIP_STORED:
                return _map_member(Path(path), info)
        with np.load(path, allow_pickle=False) as loaded:
            return loaded[key]
    except DAMAGE as error:
        raise StudyError(f"{path}: array '{key}' cannot be read: {error}") from None
    except OSError as error:
        raise StudyError(describe_os_error(error)) from None


def check_images(array: np.ndarray, where: str) -> np.ndarray:
    """Refuse anything but uint8 images of shape N x C x H x W with 1 or 3 channels."""
    if array.dtype != np.uint8:
        raise StudyError(f"{where}: dtype {array.dtype}; images are wanted as uint8 (0 to 255)")
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        shape = " x ".join(map(str, array.shape))
        raise StudyError(f"{where}: shape {shape}; N x C x H x W with C = 1 or 3 is wanted")
    return array


def merge_arrays(path: Path, split: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as `<split>.<key>` into an `.npz`; those of other splits stay in it."""
    merged = {f"{split}.{key}": value for key, value in arrays.items()}
    if path.is_file():
        for name in member_names(path):
            if not name.startswith(f"{split}."):
                merged[name] = np.array(open_array(path, name))
    write_arrays(path, merged)
