"""`.npz` files written as a stream: images never stand in memory all at once.

A member is a `.npy` (numpy.lib.format, version 1.0), stored and not compressed, so that it can be
memory-mapped (`study.npz`). Every member carries the date 1980-01-01, the zip format's first, so
that the same arrays give the same bytes.
"""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

EPOCH = (1980, 1, 1, 0, 0, 0)


def _write_member(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    chunks: Iterable[np.ndarray],
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    written = 0
    # ZIP64 always: whether a member outgrows 4 GiB must not change the layout of its header.
    with archive.open(zipfile.ZipInfo(f"{key}.npy", EPOCH), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in chunks:
            if chunk.dtype != dtype or chunk.shape[1:] != shape[1:]:
                raise ValueError(f"{key}: a chunk of {chunk.dtype} {chunk.shape} for {shape}")
            member.write(np.ascontiguousarray(chunk).reshape(-1).view(np.uint8))
            written += len(chunk)
    if written != shape[0]:
        raise ValueError(f"{key}: {written} rows written, {shape[0]} announced")


def write_npz(
    path: Path,
    shape: tuple[int, int, int, int],
    images: Iterable[np.ndarray],
    arrays: dict[str, np.ndarray],
) -> None:
    """Write `data` (uint8, `shape` = N x C x H x W) from chunks of images, then `arrays`.

    `path` must not exist. The file is flushed to disk. ValueError when the chunks do not make up
    `shape`.
    """
    with open(path, "xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _write_member(archive, "data", shape, np.dtype(np.uint8), images)
            for key, array in arrays.items():
                _write_member(archive, key, array.shape, array.dtype, [array])
        file.flush()
        os.fsync(file.fileno())
