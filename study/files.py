"""Files that are there whole or not at all: written aside, flushed to disk, renamed into place."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file beside `path` for writing; it takes that name only when the block succeeds.

    The name aside is always the same: what a killed process left under it, the next writing of
    this file takes over and so removes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with open(aside, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk, for one, does not say where
        raise


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole."""
    with written_whole(path) as file:
        file.write(text)


def to_json(value: Any) -> str:
    """JSON as it stands in every file of ours: indented, keys as given, no NaN, a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole."""
    write_text(path, to_json(value))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed `.npz`, whole."""
    with written_whole(path, "wb") as file:
        np.savez(file, **arrays)


def sha256(path: Path, seen: Callable[[int], object] = lambda count: None) -> str:
    """The file's SHA-256 in hexadecimal, read in blocks; `seen` is told the bytes of each."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            seen(len(block))
    return digest.hexdigest()
