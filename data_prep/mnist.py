"""MNIST and Fashion-MNIST out of their four published files, or downloaded where none are given."""

import contextlib
import importlib
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import idx
from data_prep.built import Built, Split, one_chunk
from study.errors import StudyError, one_line
from study.network import answers_within
from study.progress import say

TRAIN = 50_000


@dataclass(frozen=True)
class Published:
    """One of the data sets that are published as four IDX files of the same names."""

    title: str
    # Its class in torchvision.datasets, which downloads it.
    torchvision: str
    megabytes: int
    # Of the unpacked files: those of the packed ones change with the program that packed them.
    md5: dict[str, str]
    # Of the labels 0 to 9; None where these are digits.
    class_names: tuple[str, ...] | None = None


MNIST = Published(
    title="MNIST",
    torchvision="MNIST",
    megabytes=12,
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
FASHION_MNIST = Published(
    title="Fashion-MNIST",
    torchvision="FashionMNIST",
    megabytes=31,
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)


def download(source: Published, folder: Path) -> Path:
    """Download the four files into `folder` with torchvision; returns where they lie."""
    # Imported here: it takes seconds, and a preparation from files has no need of it.
    datasets = importlib.import_module("torchvision.datasets")

    if sys.stderr.isatty():
        # All that is shown of it, and it may take minutes: torchvision's own words are kept back,
        # since an error has to stay one line.
        say(f"downloading {source.title} (four files, {source.megabytes} MB)")
    quiet = io.StringIO()
    try:
        with (
            answers_within(),
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
        ):
            files = getattr(datasets, source.torchvision)(str(folder), download=True).raw_folder
    except (OSError, RuntimeError, EOFError) as error:
        raise StudyError(
            f"{source.title} cannot be downloaded ({one_line(error)}); fetch "
            f"{', '.join(source.md5)} (.gz or not) elsewhere and give their folder with --raw"
        ) from None
    return Path(files)


def _arrays(source: Published, raw: Path | None, scratch: Path) -> list[np.ndarray]:
    if raw is not None and not raw.is_dir():
        raise StudyError(
            f"{raw}: no such folder; --raw is the one with {source.title}'s four files"
        )
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        folder = download(source, Path(temporary)) if raw is None else raw
        return [idx.read(folder, name, md5) for name, md5 in source.md5.items()]


def _split(images: np.ndarray, labels: np.ndarray, first: int, end: int) -> Split:
    arrays = {
        "labels": labels[first:end].astype(np.int64),
        "source": np.arange(first, end, dtype=np.int32),
    }
    return Split(end - first, one_chunk(images[first:end, None]), arrays)


def build(source: Published, raw: Path | None, scratch: Path, **_: object) -> Built:
    """The splits of `source`; downloads go to a folder in `scratch` that is removed again."""
    images, labels, test_images, test_labels = _arrays(source, raw, scratch)
    return Built(
        image_shape=(1, *images.shape[1:]),
        splits={
            "train": _split(images, labels, 0, TRAIN),
            "eval": _split(images, labels, TRAIN, len(images)),
            "test": _split(test_images, test_labels, 0, len(test_images)),
        },
        notes={
            "train_and_eval": f"the first {TRAIN:,} of the {len(images):,} training images, and "
            f"the others",
            "source": "index in the published file",
        },
        raw={"md5_unpacked": source.md5},
        extra={"class_names": list(source.class_names)} if source.class_names else {},
        remark="labels 0 to 9",
    )
