"""What an evaluation has measured so far, on disk, so that one that was stopped goes on.

Work is cut into blocks whose bounds depend on nothing but the number of images, so that a block
measured before a stop is the block that would be measured after it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from study.errors import StudyError
from study.files import write_arrays, write_json
from study.jsonfile import read_json_object
from study.npz import DAMAGE

# Images (or samples) in a block: a second of work on a small model, and of a large one no more
# than is worth doing again.
BLOCK = 1024
_OF = "of.json"


class Partial:
    """Finished blocks by name, in a folder that is deleted when the evaluation is whole.

    `of` says of what they are (the weights, the data, the settings): blocks of anything else are
    thrown away. Without a folder nothing is kept.
    """

    def __init__(self, folder: Path | None = None, of: dict[str, Any] | None = None) -> None:
        self.folder = folder
        if folder is None:
            return
        of = json.loads(json.dumps(of))
        record = folder / _OF
        if self._recorded(record) != of:
            shutil.rmtree(folder, ignore_errors=True)
            # Blocks that could not be deleted must not pass for these.
            if any(folder.glob("*.npz")):
                self.folder = None
                return
            write_json(record, of)

    @staticmethod
    def _recorded(record: Path) -> dict[str, Any] | None:
        try:
            return read_json_object(record) if record.is_file() else None
        except StudyError:  # damaged: of nobody knows what
            return None

    def _file(self, name: str) -> Path | None:
        # A sampler's key or a number: never a path of its own.
        return None if self.folder is None else self.folder / f"{name}.npz"

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The block's arrays; None where it is not there, or was cut short."""
        file = self._file(name)
        if file is None or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (OSError, *DAMAGE):
            return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep a finished block."""
        if (file := self._file(name)) is not None:
            write_arrays(file, arrays)

    def discard(self) -> None:
        """Delete all of it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def blocks(count: int) -> list[range]:
    """0 to `count` in blocks."""
    return [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
