"""CelebA out of its official folder: aligned and cropped JPEG files, partition, attributes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from data_prep.built import Built, Split, enumerate_words
from data_prep.celeba_decode import Frame, decode
from data_prep.celeba_images import Images, find_images
from data_prep.celeba_index import (
    ABSENT,
    ATTRIBUTES_FILE,
    OFFICIAL,
    PARTITION_FILE,
    Attributes,
    file_name,
    read_attributes,
    read_partition,
)
from data_prep.decoding import RESAMPLE, Decode, decoded, refusals, without
from data_prep.options import CelebaOptions
from data_prep.pool import cores
from study.errors import StudyError
from study.files import sha256


@dataclass(frozen=True)
class _Taken:
    """What is taken of one split: `chosen` of those `present`, but for the `refused` places."""

    present: int
    chosen: Images
    refused: dict[int, str]

    @property
    def images(self) -> Images:
        return without(self.chosen, self.refused)


def build(
    options: CelebaOptions, raw: Path | None, workers: int | None = None, **_: object
) -> Built:
    """CelebA's splits; images are decoded by `workers` processes while they are written."""
    if raw is None:
        raise StudyError("celeba: it is not downloaded; give its official folder with --raw")
    if not raw.is_dir():
        raise StudyError(f"{raw}: no such folder; --raw is CelebA's official folder")
    partition = read_partition(raw / PARTITION_FILE)
    images = find_images(raw)
    codes = _check_images(images, partition, options.subset)
    attributes = None
    if (raw / ATTRIBUTES_FILE).is_file():
        attributes = read_attributes(raw / ATTRIBUTES_FILE, partition)
    there = {name: images.select(codes == code) for code, name in enumerate(OFFICIAL)}
    chosen = _limited(there, options)
    _count_unlisted(chosen, attributes, options.subset, raw)
    how = partial(decode, frame=_frame(options))
    workers = workers or cores()
    taken = {
        name: _take(name, part, len(there[name]), options.skip_corrupt, how, workers)
        for name, part in chosen.items()
    }
    subset = _subset(taken, options.half_size)
    kept = {name: part.images for name, part in taken.items()}
    unlisted = _count_unlisted(kept, attributes, options.subset, raw)
    return Built(
        image_shape=(3, options.image_size, options.image_size),
        splits={
            name: _split(name, part, attributes, how, options.image_size, workers)
            for name, part in kept.items()
        },
        subset=subset,
        left_out=_left_out(taken),
        notes=_notes(images, attributes, unlisted),
        raw=_raw(raw, images, attributes),
        extra={"resample": RESAMPLE, "crop": options.crop},
        remark=subset or "all of CelebA",
    )


def _frame(options: CelebaOptions) -> Frame:
    crop = None if options.crop == "none" else options.crop
    return Frame(options.image_size, crop, options.half_size)


def _take(name: str, chosen: Images, present: int, skip: bool, how: Decode, workers: int) -> _Taken:
    check = skip and len(chosen)
    return _Taken(
        present, chosen, refusals(chosen, how, workers, f"celeba {name}") if check else {}
    )


def _check_images(images: Images, partition: np.ndarray, subset: bool) -> np.ndarray:
    """The split code of each image that is there, checked against partition and official counts."""
    raw = images.path.parent
    known = images.numbers < len(partition)
    codes = np.where(known, partition[np.where(known, images.numbers, 0)], ABSENT)
    if (codes == ABSENT).any():
        stranger = int(images.numbers[codes == ABSENT][0])
        raise StudyError(f"{images.where(stranger)}: not in {raw / PARTITION_FILE}")
    for code, (name, official) in enumerate(OFFICIAL.items()):
        listed = int((partition == code).sum())
        if listed > official or (listed < official and not subset):
            raise StudyError(
                f"{raw / PARTITION_FILE}: lists {listed:,} images as {name} ({code}), the official "
                f"one {official:,}" + ("" if subset else "; --subset takes fewer")
            )
    missing = (partition != ABSENT).sum() - len(codes)
    if missing and not subset:
        listed = np.flatnonzero(partition != ABSENT)
        first = int(np.setdiff1d(listed, images.numbers)[0])
        raise StudyError(
            f"{images.where(first)}: missing; {PARTITION_FILE} lists {missing:,} images that are "
            f"not there, --subset takes what is"
        )
    return codes


def _limited(there: dict[str, Images], options: CelebaOptions) -> dict[str, Images]:
    limits = {"train": options.limit_train, "eval": options.limit_eval, "test": None}
    for name, limit in limits.items():
        count = len(there[name].numbers)
        if limit is not None and limit > count:
            raise StudyError(
                f"{there[name].path}: --limit-{name} asks for {limit:,} images, {count:,} of "
                f"that split are there"
            )
    return {name: images.select(slice(limits[name])) for name, images in there.items()}


def _count_unlisted(
    chosen: dict[str, Images], attributes: Attributes | None, subset: bool, raw: Path
) -> int:
    """How many images have no attributes; StudyError unless that is allowed."""
    if attributes is None:
        return 0
    numbers = np.concatenate([images.numbers for images in chosen.values()])
    unlisted = numbers[attributes.values[numbers, 0] == 0]
    if len(unlisted) and not subset:
        raise StudyError(
            f"{raw / ATTRIBUTES_FILE}: no row for {file_name(unlisted[0])}; {len(unlisted):,} of "
            f"the images have none, --subset does without"
        )
    return len(unlisted)


def _split(
    name: str,
    images: Images,
    attributes: Attributes | None,
    how: Decode,
    size: int,
    workers: int,
) -> Split:
    arrays = {"source": images.numbers.astype(np.int32)}
    if attributes is not None:
        arrays["attributes"] = attributes.values[images.numbers]
        arrays["attribute_names"] = np.array(attributes.names)
    chunks = decoded(images, how, (3, size, size), workers, f"celeba {name}")
    return Split(len(images), chunks, arrays)


def _subset(taken: dict[str, _Taken], half_size: bool) -> str | None:
    """What was taken of each split, in words; None when that is all of CelebA."""
    refused = sum(len(part.refused) for part in taken.values())
    complete = all(len(taken[name].chosen) == count for name, count in OFFICIAL.items())
    if complete and not refused and not half_size:
        return None
    parts = []
    for name, official in OFFICIAL.items():
        chosen, present = len(taken[name].chosen), taken[name].present
        of = f"{official:,}" if present == official else f"the {present:,} present of {official:,}"
        parts.append(
            f"the first {chosen:,} of {of} {name}"
            if chosen < present
            else f"{chosen:,} of {official:,} {name}"
        )
    size = " at half the published size" * half_size
    less = f", less {refused:,} that cannot be used" if refused else ""
    return f"{enumerate_words(parts)} images of CelebA{size}{less}"


def _left_out(taken: dict[str, _Taken]) -> list[str]:
    reasons = []
    for name, official in OFFICIAL.items():
        part = taken[name]
        present, chosen = part.present, len(part.chosen)
        if present < official:
            reasons.append(f"{official - present:,} {name} images: not among the raw files")
        if chosen < present:
            reasons.append(f"{present - chosen:,} {name} images: beyond --limit-{name}")
        reasons += [
            f"{file_name(part.chosen.numbers[place])} ({name}): {reason}"
            for place, reason in part.refused.items()
        ]
    return reasons


def _notes(images: Images, attributes: Attributes | None, unlisted: int) -> dict[str, Any]:
    notes: dict[str, Any] = {
        "source": "number in the file's name",
        # Another release may decode or resize some pixel differently by one level.
        "decoder": f"Pillow {PIL.__version__}",
    }
    if images.members is None:
        notes["images"] = (
            "Read from a folder: there was no checksum to hold each file against, as a zip has "
            "(CRC-32)."
        )
    if attributes is not None:
        notes["images_without_attributes"] = unlisted
    return notes


def _raw(raw: Path, images: Images, attributes: Attributes | None) -> dict[str, Any]:
    files = [PARTITION_FILE] + ([ATTRIBUTES_FILE] if attributes is not None else [])
    return {
        "images": images.path.name,
        "sha256": {file: sha256(raw / file) for file in files},
    }
