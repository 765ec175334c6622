"""MNIST out of its four published files, or downloaded where none are given."""

import contextlib
import io
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import idx
from data_prep.built import Built, Split, one_chunk
from study.errors import StudyError, one_line
from study.progress import say

# MD5 of the unpacked files: those of the packed ones change with the program that packed them.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
TRAIN = 50_000
TIMEOUT_SECONDS = 20


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def download(folder: Path) -> Path:
    """Download the four files into `folder` with torchvision; returns where they lie."""
    # Imported here: it takes seconds, and a preparation from files has no need of it.
    from torchvision.datasets import MNIST

    if sys.stderr.isatty():
        # All that is shown of it, and it may take minutes: torchvision's own words are kept back,
        # since an error has to stay one line.
        say("downloading MNIST (four files, 12 MB)")
    quiet = io.StringIO()
    try:
        with (
            _socket_timeout(TIMEOUT_SECONDS),
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
        ):
            files = MNIST(str(folder), download=True).raw_folder
    except (OSError, RuntimeError, EOFError) as error:
        raise StudyError(
            f"MNIST cannot be downloaded ({one_line(error)}); fetch {', '.join(MD5)} "
            f"(.gz or not) elsewhere and give their folder with --raw"
        ) from None
    return Path(files)


def _arrays(raw: Path | None, scratch: Path) -> list[np.ndarray]:
    if raw is not None and not raw.is_dir():
        raise StudyError(f"{raw}: no such folder; --raw is the one with MNIST's four files")
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        folder = download(Path(temporary)) if raw is None else raw
        return [idx.read(folder, name, md5) for name, md5 in MD5.items()]


def _split(images: np.ndarray, labels: np.ndarray, first: int, end: int) -> Split:
    arrays = {
        "labels": labels[first:end].astype(np.int64),
        "source": np.arange(first, end, dtype=np.int32),
    }
    return Split(end - first, one_chunk(images[first:end, None]), arrays)


def build(options: object, raw: Path | None, scratch: Path, **_: object) -> Built:
    """MNIST's splits; downloads go to a folder in `scratch` that is removed again."""
    images, labels, test_images, test_labels = _arrays(raw, scratch)
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
        raw={"md5_unpacked": MD5},
        remark="labels 0 to 9",
    )
