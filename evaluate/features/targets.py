"""What the classifier learns to tell: labels, factors or attributes beside the training images."""

from dataclasses import dataclass

import numpy as np

from study.datasets import Dataset
from study.errors import StudyError

UNKNOWN = -1
# In the order in which they are taken; no two of them together.
KINDS = ("labels", "factors", "attributes")


@dataclass(frozen=True)
class Targets:
    """One question per column: `values` is int64, N x questions, a class from 0 or UNKNOWN;
    `classes` says how many classes each has."""

    kind: str
    values: np.ndarray
    classes: tuple[int, ...]

    def known(self) -> np.ndarray:
        """Which images have an answer to any question: their indices, ascending."""
        return np.flatnonzero((self.values != UNKNOWN).any(1))


def find_targets(dataset: Dataset) -> Targets | str:
    """The training split's targets, or why there is nothing to learn."""
    if "train" not in dataset.splits():
        return "the data set has no training split"
    for kind in KINDS:
        array = dataset.array("train", kind)
        if array is not None:
            columns = _columns(dataset, kind, array)
            classes = tuple(int(column.max(initial=UNKNOWN)) + 1 for column in columns)
            kept = [i for i, count in enumerate(classes) if count > 1]
            if kept:
                values = np.stack([columns[i] for i in kept], 1)
                return Targets(kind, values, tuple(classes[i] for i in kept))
    return f"its training images have no {', '.join(KINDS[:-1])} or {KINDS[-1]} to tell apart"


def _columns(dataset: Dataset, kind: str, array: np.ndarray) -> list[np.ndarray]:
    """Each question's classes; StudyError where there is not a row for each image."""
    count = dataset.count("train")
    if array.shape[:1] != (count,) or array.ndim != (1 if kind == "labels" else 2):
        want = f"({count},)" if kind == "labels" else f"{count} rows"
        raise StudyError(f"{dataset.path('train')}: {kind}: shape {array.shape}; {want} wanted")
    # In `attributes` 1 is yes, -1 no, 0 unknown; a label or a factor is always known.
    columns = np.asarray(array).reshape(count, -1).T
    return [_classes(column, column != 0 if kind == "attributes" else None) for column in columns]


def _classes(column: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """The place of each value among the distinct ones in ascending order; UNKNOWN where not."""
    made = np.full(len(column), UNKNOWN, np.int64)
    known = np.ones(len(column), bool) if known is None else known
    made[known] = np.unique(column[known], return_inverse=True)[1].reshape(-1)
    return made
