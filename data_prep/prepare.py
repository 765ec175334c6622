"""`prepare`: one data set, from raw files to `out/<name>/`."""

import contextlib
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_prep import celeba, image_folder, mnist, shapes
from data_prep.built import Built, Split, enumerate_words
from data_prep.folder import partial_folder, put_into_place
from data_prep.npz_stream import write_npz
from data_prep.options import OPTIONS, check_name, check_options, default_name
from study.datasets import FORMAT, MANIFEST, Dataset, open_dataset, split_file
from study.errors import StudyError, describe_os_error
from study.files import sha256, write_json
from study.jsonfile import read_json_object
from study.lock import locked
from study.provenance import code_version
from study.schema import Section

BUILDERS: dict[str, Callable[..., Built]] = {
    "shapes": shapes.build,
    "mnist": partial(mnist.build, mnist.MNIST),
    "fashion_mnist": partial(mnist.build, mnist.FASHION_MNIST),
    "celeba": celeba.build,
    "folder": image_folder.build,
}
# Where options do not tell one source from another: what of the raw files does, as `Built.raw`.
FINGERPRINTS: dict[str, Callable[[Path], dict[str, Any]]] = {"folder": image_folder.fingerprint}


def prepare(
    dataset: str,
    options: dict[str, Any] | Section,
    raw: Path | None,
    out: Path,
    name: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Path:
    """Make `out/<name>/` of the raw files in `raw` and return it; prints one summary line.

    A data set that is there with the same options is left alone, one with other options is
    refused unless `overwrite`. Without `raw` mnist and fashion_mnist are downloaded; shapes needs
    none. `workers` processes decode images (None: one for each core). StudyError for whatever is
    wrong with options, raw files or `out`, for a disk that is full, and where another process is
    preparing the same (`study.lock`); nothing half made stays.
    """
    options = check_options(dataset, options)
    folder = Path(out) / check_name(default_name(dataset, options) if name is None else name)
    raw = None if raw is None else Path(raw)
    wanted = _Wanted(dataset, options, raw, overwrite)
    try:
        if _is_there(folder, wanted):
            # A folder's files are part of what is compared; elsewhere the options alone decide.
            unread = raw is not None and dataset != "folder"
            remark = "already prepared" + (", so --raw was not read" if unread else "")
        else:
            with locked(folder):
                remark = _make(folder, wanted, workers)
        sizes = _sizes(open_dataset(folder.parent, folder.name))
    except OSError as error:
        raise StudyError(describe_os_error(error)) from None
    print(f"{folder}: {sizes}; {remark}")
    return folder


@dataclass(frozen=True)
class _Wanted:
    dataset: str
    options: Section
    raw: Path | None
    overwrite: bool


def _make(folder: Path, wanted: _Wanted, workers: int | None) -> str:
    # Another preparation may have ended since that was asked first.
    if _is_there(folder, wanted):
        return "already prepared"
    with partial_folder(folder) as aside:
        built = BUILDERS[wanted.dataset](
            options=wanted.options, raw=wanted.raw, scratch=aside, workers=workers
        )
        _check_space(folder, built)
        _write(aside, folder.name, wanted.dataset, wanted.options, built)
        put_into_place(aside, folder)
    return built.remark


def _check_space(folder: Path, built: Built) -> None:
    """StudyError where the images cannot fit, before hours are spent on decoding them."""
    needed = sum(split.count for split in built.splits.values()) * math.prod(built.image_shape)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise StudyError(
            f"{folder.parent}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free; "
            f"make room or choose another --out"
        )


def _sizes(dataset: Dataset) -> str:
    counts = [f"{dataset.count(split):,} {split}" for split in dataset.splits()]
    shape = " x ".join(map(str, dataset.shape))
    return f"{enumerate_words(counts)} images of {shape}"


def _is_there(folder: Path, wanted: _Wanted) -> bool:
    """Whether `folder` holds just this data set, whole; StudyError when it holds another thing."""
    # A link to a data set on a larger disk is as good as that, as long as nothing is written.
    if folder.is_symlink() and (wanted.overwrite or not (folder / MANIFEST).is_file()):
        # No folder can be renamed onto a link, and to move the link aside would leave the data set
        # that it points to behind, unreplaced.
        place = os.path.dirname(os.path.realpath(folder))
        raise StudyError(
            f"{folder}: a symbolic link, where a real folder or nothing is wanted; remove the link "
            f"or give the folder that it points into: --out {place}"
        )
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder}: a file stands there; choose another --out or --name")
    manifest_file = folder / MANIFEST
    if not manifest_file.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise StudyError(
                f"{folder}: not empty and no prepared data set ({MANIFEST} is missing); choose "
                f"another --out or --name"
            )
        return False
    if wanted.overwrite:
        return False
    try:
        _refuse_another(manifest_file, wanted)
        open_dataset(folder.parent, folder.name)
    except StudyError as error:
        raise StudyError(f"{error}; choose another --name, or --overwrite it") from None
    return True


def _refuse_another(manifest_file: Path, wanted: _Wanted) -> None:
    manifest = read_json_object(manifest_file)
    prepared_with = manifest.get("options")
    if not isinstance(prepared_with, dict):
        raise StudyError(f"{manifest_file}: key 'options' is missing")
    there = {"dataset": manifest.get("dataset")} | prepared_with
    if there["dataset"] == wanted.dataset:
        # An option that came later than the data set stands there at what it is without it.
        there = _defaults(wanted.dataset) | there
    ours = {"dataset": wanted.dataset} | wanted.options.model_dump()
    for key in ours | there:
        if there.get(key) != ours.get(key):
            raise StudyError(
                f"{manifest_file.parent}: prepared with {key} {there.get(key)!r}, not "
                f"{ours.get(key)!r}"
            )
    if wanted.raw is not None and wanted.dataset in FINGERPRINTS:
        raw = FINGERPRINTS[wanted.dataset](wanted.raw)
        if manifest.get("raw") != raw:
            raise StudyError(
                f"{manifest_file.parent}: prepared from other files than {wanted.raw} now holds"
            )


def _defaults(dataset: str) -> dict[str, Any]:
    fields = OPTIONS[dataset].model_fields.items()
    return {key: field.default for key, field in fields if not field.is_required()}


def _write(partial: Path, name: str, dataset: str, options: Section, built: Built) -> None:
    splits = {
        split: _write_split(partial / split_file(split), built.image_shape, content)
        for split, content in built.splits.items()
        if content.count
    }
    manifest = {
        "format": FORMAT,
        "name": name,
        "dataset": dataset,
        "image_shape": list(built.image_shape),
        "splits": splits,
        "options": options.model_dump(),
        "subset": built.subset,
        "left_out": built.left_out,
        "notes": built.notes,
        "raw": built.raw,
        "code": code_version(),
    } | built.extra
    write_json(partial / MANIFEST, manifest)


def _write_split(path: Path, shape: tuple[int, int, int], split: Split) -> dict[str, Any]:
    # Closed whatever happens, since the iterator may hold processes.
    with contextlib.closing(split.images) as images:
        write_npz(path, (split.count, *shape), images, split.arrays)
    return {
        "file": path.name,
        "count": split.count,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
    }
