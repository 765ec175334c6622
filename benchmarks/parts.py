"""What the benchmarks share: prepared data sets of any images, processes that start at once."""

import json
import multiprocessing
from collections.abc import Iterable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.npz_stream import write_npz
from study.datasets import FORMAT, MANIFEST, Dataset, open_dataset, split_file
from study.files import sha256, write_json


def noise(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """uint8 images of noise, count x C x H x W: the time of a step does not depend on content."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_dataset(data: Path, name: str, splits: dict[str, np.ndarray]) -> Dataset:
    """A prepared data set `data/name` of uint8 images, N x C x H x W for each split."""
    folder = data / name
    folder.mkdir(parents=True)
    entries = {}
    for split, images in splits.items():
        path = folder / split_file(split)
        write_npz(path, images.shape, [images], {})
        entries[split] = {
            "file": path.name,
            "count": len(images),
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
    manifest = {
        "format": FORMAT,
        "name": name,
        "dataset": "made",
        "image_shape": list(next(iter(splits.values())).shape[1:]),
        "splits": entries,
        "subset": None,
    }
    write_json(folder / MANIFEST, manifest)
    return open_dataset(data, name)


def write_run(folder: Path, config: dict) -> Path:
    """A run file in `folder`."""
    path = folder / "run.json"
    path.write_text(json.dumps(config))
    return path


def also_call(callback: Any) -> None:
    """From now on each trainer of this process has this Pythae callback, too.

    Beside those of a run, which `train_run` alone chooses.
    """
    from pythae.trainers.training_callbacks import CallbackHandler

    make = CallbackHandler.__init__

    def with_another(self: Any, callbacks: Iterable[Any], model: Any) -> None:
        make(self, callbacks=[*callbacks, callback], model=model)

    CallbackHandler.__init__ = with_another


def forking() -> BaseContext:
    """Processes that need not import torch and Pythae, which takes seconds.

    A server imports them once and is forked. It computes nothing itself, so that each process has
    threads, a heap and a GPU's context of its own.
    """
    context = multiprocessing.get_context("forkserver")
    # torch imports its compiler when the first optimizer is made, if nobody did.
    context.set_forkserver_preload(["train.run", "torch._dynamo", "pandas"])
    return context
