"""The image files of a folder: which there are, of which split and of which class."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.decoding import read_file
from data_prep.picture import SUFFIXES
from study.datasets import SPLITS
from study.errors import StudyError

# Folders that are a split, and what else they are called.
SPLIT_FOLDERS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("eval", "val", "valid", "validation"), "eval"
)


@dataclass(frozen=True)
class Found:
    """Image files below `root`: `names` (relative, with /, in order) and their `sizes` in bytes."""

    root: Path
    names: np.ndarray
    sizes: np.ndarray
    # Files that are no images by their names.
    others: int

    def fingerprint(self) -> dict[str, Any]:
        """What tells this folder from another one, without a look into the files."""
        listing = "".join(f"{n}\0{s}\n" for n, s in zip(self.names, self.sizes, strict=True))
        return {
            "folder": self.root.resolve().name,
            "images": len(self.names),
            "sha256_of_names_and_sizes": hashlib.sha256(listing.encode()).hexdigest(),
        }


@dataclass(frozen=True)
class Files:
    """Some of the files (`data_prep.decoding.ImageFiles`): `source` is their place among all."""

    root: Path
    names: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def select(self, chosen: Any) -> "Files":
        """Those at these places."""
        return Files(self.root, self.names[chosen], self.source[chosen])

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Path and content of each; BadImage names what is unreadable."""
        for name in self.names:
            path = self.root / name
            yield str(path), read_file(path)


def find_files(root: Path) -> Found:
    """Every image below `root`, by its file's ending; hidden files and folders are passed over."""
    if not root.is_dir():
        raise StudyError(f"{root}: no such folder; --raw is the one with the images")
    found: list[tuple[str, int]] = []
    others = sum(_walk(root, "", (), found))
    if not found:
        raise StudyError(f"{root}: no image in it; files that end in {', '.join(SUFFIXES)} are")
    names, sizes = zip(*sorted(found), strict=True)
    return Found(root, np.array(names), np.array(sizes), others)


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], found: list[tuple[str, int]]
) -> Iterator[int]:
    """Add images to `found`; yields 1 for each other file. Links are followed, but not in rings."""
    here = folder.stat()
    inode = (here.st_dev, here.st_ino)
    if inode in above:
        raise StudyError(f"{folder}: a link to a folder that it lies in; remove it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(
                    folder / entry.name, f"{prefix}{entry.name}/", (*above, inode), found
                )
            elif _is_image(entry):
                found.append((_utf8(prefix + entry.name, folder), _size(entry)))
            else:
                yield 1


def _is_image(entry: os.DirEntry) -> bool:
    # A link that leads nowhere is an image that cannot be read, and not something else.
    is_file = entry.is_file() or entry.is_symlink()
    return is_file and entry.name.lower().endswith(SUFFIXES)


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _utf8(name: str, folder: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StudyError(f"{folder}: the file name {name!a} is not UTF-8; rename it") from None
    return name


def split_folders(found: Found) -> np.ndarray | None:
    """The split of each file by the folder that it lies in; None where there are no such folders.

    StudyError where only a part of the files lies in them.
    """
    tops = np.array([name.partition("/")[0] if "/" in name else "" for name in found.names])
    there = {str(top) for top in np.unique(tops)}
    splits = there & SPLIT_FOLDERS.keys()
    if not splits:
        return None
    if "train" not in splits:
        raise StudyError(
            f"{found.root}: {sorted(splits)[0]}/ without train/; a folder with splits has train/ "
            f"and, if wanted, eval/ and test/"
        )
    evals = sorted(top for top in splits if SPLIT_FOLDERS[top] == "eval")
    if len(evals) > 1:
        raise StudyError(f"{found.root}: {evals[0]}/ and {evals[1]}/ both name the eval split")
    if stray := sorted(there - splits):
        name = found.names[tops == stray[0]][0]
        raise StudyError(
            f"{found.root / name}: stands beside train/, in no split; move it into one of "
            f"{', '.join(SPLITS)}, or out"
        )
    return np.array([SPLIT_FOLDERS[str(top)] for top in tops])


def classes(found: Found, in_splits: bool) -> tuple[np.ndarray, list[str]] | None:
    """Label of each file and the class names, by the subfolders that hold the images (of `root`, or
    of each split), as torchvision's ImageFolder; None where some image lies in none, or where there
    is but one."""
    depth = 1 if in_splits else 0
    parts = [name.split("/") for name in found.names]
    if any(len(part) < depth + 2 for part in parts):
        return None
    names, labels = np.unique([part[depth] for part in parts], return_inverse=True)
    return (labels.astype(np.int64), names.tolist()) if len(names) > 1 else None
