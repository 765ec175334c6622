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
        batch, what = found
        _end(trainer, split, range(batch, batch + 1), what)


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
        epoch, step = trainer.epoch, trainer.step
        if step == 0:  # between two epochs
            epoch, step = epoch - 1, len(trainer.train_loader)
        _end(trainer, "train", range(step - 1, step), bad, epoch)


def refuses_nan(error: Exception) -> bool:
    """Whether a forward pass ended so because something in it was not finite, by its words."""
    words = str(error)
    if isinstance(error, RuntimeError):
        # torch's BCE on a CPU; on a GPU, where all that follows is refused, too.
        return "between 0 and 1" in words or "device-side assert" in words
    # torch's distributions, which print what they refuse.
    return isinstance(error, ValueError) and ("nan" in words or "inf" in words)


def refused_batch(trainer: Any, split: str, error: Exception) -> NoReturn:
    """RunFailed for the batch that is in work, or for one before it in which NaN began."""
    terms = trainer.terms if split == "train" else trainer.eval_terms
    batch = len(terms.sizes)
    refused = "reconstruction" if "between 0 and 1" in str(error) else "forward pass"
    what = {refused: "not finite"}
    try:
        check_terms(trainer, split)
    except RuntimeError:
        # A GPU that is in this state gives nothing back: it was this batch, or one of those since
        # the last look.
        _end(trainer, split, range(terms.looked_at, batch + 1), what)
    _end(trainer, split, range(batch, batch + 1), what)


def _end(
    trainer: Any, split: str, batches: range, what: dict[str, str], epoch: int | None = None
) -> NoReturn:
    """Write down the images of `batches` (of the trainer's epoch, if none is named), and end."""
    directory, loader, epoch = trainer.directory, trainer.loaders[split], epoch or trainer.epoch
    report = {
        "split": split,
        "epoch": epoch,
        # From 0, within the epoch.
        "batches": list(batches),
        "not_finite": what,
        "indices": [int(index) for batch in batches for index in loader.indices(epoch, batch)],
    }
    write_json(directory.not_finite, report)
    name = "loss" if "loss" in what else next(iter(what))
    more = f" (and {len(what) - 1} more)" if len(what) > 1 else ""
    first, last = batches[0], batches[-1]
    where = f"batch {last}" if first == last else f"one of batches {first} to {last}"
    raise RunFailed(
        f"{directory.path}: the {split} {name} became {what[name]}{more} in epoch {epoch}, "
        f"{where}; {REMEDY}; {directory.not_finite.name} names the images"
    )
