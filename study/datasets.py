"""Prepared data sets: `data/<name>/{train,eval,test}_data.npz` and their `manifest.json`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from study.errors import StudyError
from study.files import sha256
from study.jsonfile import read_json_object
from study.npz import check_images, member_names, open_array
from study.progress import progress
from study.schema import validate

FORMAT = 1
SPLITS = ("train", "eval", "test")
MANIFEST = "manifest.json"
AGAIN = "prepare it again (--overwrite)"


def split_file(split: str) -> str:
    """The file's name of a split, Pythae's own: `train_data.npz`."""
    return f"{split}_data.npz"


class _SplitEntry(BaseModel):
    model_config = ConfigDict(strict=True)
    count: int
    bytes: int
    sha256: str


class _Manifest(BaseModel):
    """What every stage reads of a manifest; each data set notes more."""

    model_config = ConfigDict(strict=True)
    name: str
    image_shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    splits: dict[Literal["train", "eval", "test"], _SplitEntry]
    subset: str | None


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, opened by its manifest; arrays are mapped when asked for."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """C x H x W."""
        channels, height, width = self.manifest["image_shape"]
        return channels, height, width

    @property
    def subset(self) -> str | None:
        """What of the official data set is missing, in words; None when it is complete."""
        return self.manifest["subset"]

    def splits(self) -> list[str]:
        return [split for split in SPLITS if split in self.manifest["splits"]]

    def path(self, split: str) -> Path:
        """The split's `.npz`; StudyError where the data set has no such split."""
        if split not in self.manifest["splits"]:
            raise StudyError(
                f"{self.folder}: no '{split}' split; it has {', '.join(self.splits())}"
            )
        return self.folder / split_file(split)

    def count(self, split: str) -> int:
        self.path(split)
        return self.manifest["splits"][split]["count"]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each split's file, as the manifest has it."""
        return {split: self.manifest["splits"][split]["sha256"] for split in self.splits()}

    def images(self, split: str) -> np.ndarray:
        """The split's images, uint8 N x C x H x W, mapped; checked against the manifest."""
        path = self.path(split)
        images = check_images(open_array(path, "data"), str(path))
        want = (self.count(split), *self.shape)
        if images.shape != want:
            raise StudyError(f"{path}: shape {images.shape}, the manifest says {want}; {AGAIN}")
        return images

    def array(self, split: str, key: str) -> np.ndarray | None:
        """An array that stands beside the images (labels, factors, ...); None where absent."""
        path = self.path(split)
        return open_array(path, key) if key in member_names(path) else None


def open_dataset(data: Path, name: str, verify: bool = False) -> Dataset:
    """Open `data/<name>`. With `verify` every file's SHA-256 is held against the manifest."""
    folder = Path(data) / name
    manifest_file = folder / MANIFEST
    if not manifest_file.is_file():
        raise StudyError(
            f"{folder}: no prepared data set there ({MANIFEST} is missing); "
            f"'python -m data_prep --help' shows how to make it"
        )
    manifest = read_json_object(manifest_file)
    if manifest.get("format") != FORMAT:
        raise StudyError(
            f"{manifest_file}: format {manifest.get('format')!r}, this version reads {FORMAT}"
        )
    validate(_Manifest, manifest, manifest_file)
    dataset = Dataset(folder, manifest)
    for split in dataset.splits():
        _check_file(dataset, split, verify)
    return dataset


def _check_file(dataset: Dataset, split: str, verify: bool) -> None:
    path = dataset.path(split)
    entry = dataset.manifest["splits"][split]
    if not path.is_file():
        raise StudyError(f"{path}: missing, though the manifest names it; {AGAIN}")
    if path.stat().st_size != entry["bytes"]:
        raise StudyError(
            f"{path}: {path.stat().st_size} bytes, the manifest says {entry['bytes']}; "
            f"it was cut short or changed; {AGAIN}"
        )
    if verify:
        with progress(entry["bytes"], f"verify {path.name}", "B") as bar:
            found = sha256(path, bar.update)
        if found != entry["sha256"]:
            raise StudyError(
                f"{path}: SHA-256 {found}, the manifest says {entry['sha256']}; {AGAIN}"
            )
