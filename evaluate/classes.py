"""What is known of images beside them: of which class each is, and the factors it was made of."""

from dataclasses import dataclass

import numpy as np

from study.datasets import Dataset
from study.errors import StudyError

# The factor that is a class, in a data set that has factors.
CLASS = "shape"


@dataclass(frozen=True)
class Known:
    """Of the first so many images of a split: `classes` int64 N (None where the data have none),
    `factors` the others by name, float64 N each."""

    classes: np.ndarray | None
    factors: dict[str, np.ndarray]


def known_of(dataset: Dataset, split: str, count: int) -> Known:
    """Classes are the data set's labels, or else its factor `shape`; attributes are none."""
    columns = _factors(dataset, split)
    labels = dataset.array(split, "labels")
    if labels is not None and labels.ndim != 1:
        raise _wrong(dataset, split, "labels", labels, "one for each image")
    found = columns.pop(CLASS, None) if labels is None else labels
    for key, column in {"labels": found, **columns}.items():
        if column is not None and len(column) != dataset.count(split):
            raise _wrong(dataset, split, key, column, "one for each image")
    classes = None if found is None else np.array(found[:count], np.int64)
    return Known(classes, {key: np.array(v[:count], np.float64) for key, v in columns.items()})


def class_names(dataset: Dataset, *classes: np.ndarray | None) -> list[str] | None:
    """The name of each class, by its number; None where the data have none."""
    there = [found for found in classes if found is not None and len(found)]
    if not there:
        return None
    codes = dataset.manifest.get("notes", {}).get("shape_codes", {})
    named = {code: name for name, code in codes.items()}
    named |= dict(enumerate(dataset.manifest.get("class_names") or []))
    return [named.get(i, str(i)) for i in range(max(int(found.max()) for found in there) + 1)]


def _factors(dataset: Dataset, split: str) -> dict[str, np.ndarray]:
    names, values = dataset.array(split, "factor_names"), dataset.array(split, "factors")
    if names is None or values is None:
        return {}
    if values.ndim != 2 or values.shape[1] != len(names):
        raise _wrong(dataset, split, "factors", values, f"{len(names)} for each image")
    return {str(name): values[:, i] for i, name in enumerate(names)}


def _wrong(dataset: Dataset, split: str, key: str, array: np.ndarray, want: str) -> StudyError:
    return StudyError(f"{dataset.path(split)}: {key}: shape {array.shape}; {want} wanted")
