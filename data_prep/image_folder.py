"""A folder of images, a user's own."""

from functools import partial
from pathlib import Path

import numpy as np
import PIL

from data_prep.built import Built, Split, enumerate_words
from data_prep.decoding import RESAMPLE, decoded, refusals, without
from data_prep.image_files import Files, Found, classes, find_files, split_folders
from data_prep.options import SHARE, FolderOptions
from data_prep.picture import Frame, decode
from data_prep.pool import cores
from study.datasets import SPLITS
from study.errors import StudyError


def _folder(raw: Path | None) -> Path:
    if raw is None:
        raise StudyError("folder: give the folder of images with --raw")
    return raw


def fingerprint(raw: Path) -> dict:
    """What a manifest's `raw` says of this folder."""
    return find_files(raw).fingerprint()


def build(
    options: FolderOptions, raw: Path | None, workers: int | None = None, **_: object
) -> Built:
    """The folder's splits; images are decoded by `workers` processes while they are written."""
    found = find_files(_folder(raw))
    split_of = split_folders(found)
    labelled = classes(found, split_of is not None)
    there = _drawn(found, options) if split_of is None else _given(found, split_of, options)
    chosen = {split: _limited(there[split], split, found, options) for split in SPLITS}
    files = {split: _files(found, places) for split, places in chosen.items()}
    how = partial(decode, frame=Frame(options.image_size, options.crop, options.channels))
    workers = workers or cores()
    refused = {
        split: refusals(part, how, workers, f"folder {split}")
        for split, part in files.items()
        if options.skip_corrupt and len(part)
    }
    shape = (options.channels, options.image_size, options.image_size)
    splits = {}
    for split, part in files.items():
        kept = without(part, refused.get(split, {}))
        chunks = decoded(kept, how, shape, workers, f"folder {split}")
        splits[split] = Split(len(kept), chunks, _arrays(kept, labelled))
    subset = _subset(there, files, refused)
    remark = subset or "all images of the folder"
    return Built(
        image_shape=shape,
        splits=splits,
        subset=subset,
        left_out=_left_out(there, files, refused),
        notes=_notes(found, split_of is not None, labelled is not None),
        raw=found.fingerprint(),
        extra={"resample": RESAMPLE, "crop": options.crop}
        | ({"class_names": labelled[1]} if labelled else {}),
        remark=f"{remark}; {len(labelled[1]):,} classes" if labelled else remark,
    )


def _arrays(files: Files, labelled: tuple[np.ndarray, list[str]] | None) -> dict[str, np.ndarray]:
    arrays = {"source": files.source.astype(np.int32), "file_names": files.names}
    return arrays | ({"labels": labelled[0][files.source]} if labelled else {})


def _files(found: Found, places: np.ndarray) -> Files:
    return Files(found.root, found.names[places], places)


def _given(found: Found, split_of: np.ndarray, options: FolderOptions) -> dict[str, np.ndarray]:
    for key in ("eval", "test"):
        if getattr(options, key) is not None:
            raise StudyError(
                f"{found.root}: its folders train/ and so on are the splits; leave out --{key}"
            )
    return {split: np.flatnonzero(split_of == split) for split in SPLITS}


def _drawn(found: Found, options: FolderOptions) -> dict[str, np.ndarray]:
    """A permutation by PCG64(seed): eval first, then test, the rest is train; each in order."""
    total = len(found.names)
    counts = {}
    for key in ("eval", "test"):
        part = getattr(options, key)
        part = SHARE if part is None else part
        counts[key] = round(part * total) if isinstance(part, float) else part
        if part and not counts[key]:
            raise StudyError(
                f"{found.root}: {total:,} images are too few for a share of {part} as {key}; "
                f"--{key} takes a number of images too, 0 for none"
            )
    if sum(counts.values()) >= total:
        raise StudyError(
            f"{found.root}: {total:,} images, of which {counts['eval']:,} as eval and "
            f"{counts['test']:,} as test leave none to train on"
        )
    order = np.random.Generator(np.random.PCG64(options.seed)).permutation(total)
    held, test, train = np.split(order, np.cumsum(list(counts.values())))
    return {"train": np.sort(train), "eval": np.sort(held), "test": np.sort(test)}


def _limited(places: np.ndarray, split: str, found: Found, options: FolderOptions) -> np.ndarray:
    # Not the first ones: where classes have folders of their own, these would be of one class.
    limit = getattr(options, f"limit_{split}")
    if limit is None:
        return places
    if limit > len(places):
        raise StudyError(
            f"{found.root}: --limit-{split} asks for {limit:,} images, {len(places):,} of that "
            f"split are there"
        )
    generator = np.random.Generator(np.random.PCG64([options.seed, SPLITS.index(split)]))
    return np.sort(generator.choice(places, limit, replace=False))


def _subset(
    there: dict[str, np.ndarray], files: dict[str, Files], refused: dict[str, dict[int, str]]
) -> str | None:
    """What was taken of each split, in words; None when that is the whole folder."""
    left = sum(map(len, refused.values()))
    if all(len(files[split]) == len(there[split]) for split in SPLITS) and not left:
        return None
    parts = [f"{len(files[s]):,} of {len(there[s]):,} {s}" for s in SPLITS if len(there[s])]
    less = f", less {left:,} that cannot be used" if left else ""
    return f"{enumerate_words(parts)} images of the folder{less}"


def _left_out(
    there: dict[str, np.ndarray], files: dict[str, Files], refused: dict[str, dict[int, str]]
) -> list[str]:
    reasons = []
    for split in SPLITS:
        beyond = len(there[split]) - len(files[split])
        if beyond:
            reasons.append(f"{beyond:,} {split} images: beyond --limit-{split}")
        names = files[split].names
        reasons += [
            f"{names[at]} ({split}): {reason}" for at, reason in refused.get(split, {}).items()
        ]
    return reasons


def _notes(found: Found, in_splits: bool, labelled: bool) -> dict[str, object]:
    return {
        "source": "place in the sorted list of all the folder's images, as file_names has them",
        "splits": "the folder's own" if in_splits else "drawn by the seed",
        "labels": "the subfolders' places among class_names"
        if labelled
        else "none: not every image lies in a class's subfolder, or there is but one",
        "colours": "as decoded, without colour profiles; what is transparent lies on white",
        "files_that_are_no_images": found.others,
        # Another release may decode or resize some pixel differently by one level.
        "decoder": f"Pillow {PIL.__version__}",
    }
