"""Whether two finished run directories hold the same bits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from train.history import read_history

# What differs between two runs of the same numbers: times, and the name of a mirror.
TIMES = ("seconds", "epoch_seconds", "wandb_id")


def differences(one: Path, two: Path) -> list[str]:
    """Where two finished run directories differ, but for times: files and places in them."""

    def read(out: Path) -> dict[str, Any]:
        names = ("final_model/model.pt", "last_model.pt", "checkpoint.pt")
        found = {name: torch.load(out / name, weights_only=True) for name in names}
        return found | {"history.jsonl": read_history(out / "history.jsonl")}

    return list(unlike(read(one), read(two)))


def unlike(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """The places at which two trees of containers, tensors and values are not the same bits."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys(), key=str):
            if key not in TIMES:
                yield from unlike(a.get(key), b.get(key), f"{where}/{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from unlike(*pair, f"{where}/{index}")
    elif torch.is_tensor(a) and torch.is_tensor(b):
        # Bytes, for which NaN is NaN and -0 is not 0.
        same = a.dtype == b.dtype and a.shape == b.shape
        if not (same and a.cpu().numpy().tobytes() == b.cpu().numpy().tobytes()):
            yield where
    elif type(a) is not type(b) or a != b:
        yield where
