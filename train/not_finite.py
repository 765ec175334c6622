"""A loss or a weight that is NaN or infinite ends a run; which batch it was is written down."""

import math
from typing import Any, NoReturn

import torch

from study.errors import RunFailed
from study.files import write_json

REMEDY = "a smaller learning rate is the first thing to try"


def check_terms(trainer: Any, split: str) -> None:
    """RunFailed where a loss term of the epoch's batches was not finite."""
    terms = trainer.terms if split == "train" else trainer.eval_terms
    if found := terms.not_finite():
        _end(trainer, split, *found)


def check_score(trainer: Any, line: dict[str, Any]) -> None:
    """RunFailed where the metric that chooses the best model is not finite."""
    key = trainer.selection.key
    value = line["eval"].get(key, 0.0)
    if not math.isfinite(value):
        raise RunFailed(
            f"{trainer.directory.path}: the eval {key} became {value} in epoch {line['epoch']}: a "
            f"reconstruction is not finite; {REMEDY}"
        )


def check_weights(trainer: Any) -> None:
    """RunFailed where a weight is not finite: such a model is no state to go on from."""
    weights = {
        name: value
        for name, value in trainer.model.state_dict().items()
        if value.is_floating_point()
    }
    finite = torch.stack([value.isfinite().all() for value in weights.values()]).tolist()
    if not all(finite):
        bad = {name: "not finite" for name, good in zip(weights, finite, strict=True) if not good}
        _end(trainer, "train", max(trainer.step - 1, 0), bad)


def refused_reconstruction(trainer: Any, split: str) -> NoReturn:
    """RunFailed for the batch that is in work, whose reconstruction is no image in [0, 1]."""
    check_terms(trainer, split)
    terms = trainer.terms if split == "train" else trainer.eval_terms
    _end(trainer, split, len(terms.sizes), {"reconstruction": "nan"})


def _end(trainer: Any, split: str, batch: int, what: dict[str, str]) -> NoReturn:
    directory = trainer.directory
    indices = trainer.loaders[split].indices(trainer.epoch, batch)
    report = {
        "split": split,
        "epoch": trainer.epoch,
        # From 0, within the epoch.
        "batch": batch,
        "not_finite": what,
        "indices": [int(index) for index in indices],
    }
    write_json(directory.not_finite, report)
    name = "loss" if "loss" in what else next(iter(what))
    more = f" (and {len(what) - 1} more)" if len(what) > 1 else ""
    raise RunFailed(
        f"{directory.path}: the {split} {name} became {what[name]}{more} in epoch {trainer.epoch}, "
        f"batch {batch}; {REMEDY}; {directory.not_finite.name} names the batch's images"
    )
