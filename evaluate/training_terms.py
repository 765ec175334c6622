"""What a run's own training says of it: numbers of `history.jsonl`, not measured again.

They are worked out when a study's record is gathered, and stand in it beside what was measured.
"""

import math
from typing import Any

from evaluate.metric import Metric
from study.jsonfile import read_json_object
from study.rundir import RunDirectory
from train.history import read_history

_TRAINED = "of batches as they were trained on: dropout on, z drawn, the weights on their way"
_TWO = "two epochs at least"
_TERMS = f"VAE or β-VAE; {_TWO}"
TRAINING = (
    Metric(
        "training MSE",
        "training MSE",
        "lower",
        "squared grey level, images in [0, 1]",
        f"(x - x̂)² averaged over pixels, channels and the last epoch's training images; {_TRAINED}",
        over="training",
        needs=f"AE, WAE-MMD, or VAE or β-VAE with a squared error; {_TWO}",
    ),
    Metric(
        "reconstruction fall",
        "reconstruction, last over first epoch",
        None,
        "1 for no change, below 1 for a fall",
        f"the loss's reconstruction term in the last epoch over that in the first; {_TRAINED}",
        over="training",
        needs=_TERMS,
    ),
    Metric(
        "KL fall",
        "KL, last over first epoch",
        None,
        "1 for no change, below 1 for a fall",
        f"the loss's KL, without its weight, in the last epoch over that in the first; {_TRAINED}",
        over="training",
        needs=_TERMS,
    ),
    Metric(
        "KL share",
        "KL share of the loss",
        None,
        "share of the loss",
        "β KL / (reconstruction + β KL) of the loss's terms (engine.reduction's, too) in the epoch "
        "whose model was kept, on the split that chose it",
        over="training",
        needs="VAE or β-VAE",
    ),
)
TRAINING_KEYS = tuple(metric.key for metric in TRAINING)
# A mean over the only epoch begins at weights that know nothing, and nothing fell in it.
OF_TWO_EPOCHS = tuple(metric.key for metric in TRAINING if metric.needs.endswith(_TWO))
_VAES = ("VAEConfig", "BetaVAEConfig")


def training_metrics(directory: RunDirectory) -> dict[str, dict[str, Any]]:
    """Of a trained run, key -> an entry as `metrics.json` has them, without an interval: what its
    model defines of `TRAINING`. Empty where it left no history."""
    if not directory.history.is_file() or not directory.finished.is_file():
        return {}
    best = read_json_object(directory.finished)["best"]
    history = read_history(directory.history)
    numbers = training_numbers(directory.read()["config"], history, best)
    return {
        metric.key: metric.entry(numbers[metric.key]) | {"interval": None}
        for metric in TRAINING
        if metric.key in numbers
    }


def training_numbers(
    config: dict[str, Any], history: list[dict[str, Any]], best: dict[str, Any]
) -> dict[str, float]:
    """The numbers by key, as far as the model defines them.

    `config` is the run's, resolved; `history` its epochs, each with a mean of every term over the
    images of a split; `best` has the `epoch` that was kept and the `split` that chose it.
    """
    if not history:
        return {}
    first, last = history[0]["train"], history[-1]["train"]
    found = {}
    squared = _squared_error(config, last)
    if squared is not None and len(history) > 1:
        found["training MSE"] = squared
    if config["model"]["name"] not in _VAES:
        return found
    if len(history) > 1:
        for key, term in (("reconstruction fall", "recon_loss"), ("KL fall", "reg_loss")):
            if first[term] > 0:
                found[key] = last[term] / first[term]
    kept = next((line for line in history if line["epoch"] == best["epoch"]), {})
    if terms := kept.get(best["split"]):
        kl = config["model"].get("beta", 1.0) * terms["reg_loss"]
        if terms["recon_loss"] + kl > 0:
            found["KL share"] = kl / (terms["recon_loss"] + kl)
    return found


def _squared_error(config: dict[str, Any], terms: dict[str, float]) -> float | None:
    """The mean squared error that a reconstruction term is made of: Pythae's AE and WAE_MMD take
    the sum over an image, its VAEs half of it, or half of the mean (`engine.reduction`)."""
    model = config["model"]
    values = math.prod(model["input_dim"])
    if model["name"] == "AEConfig":
        return terms["loss"] / values
    if model["name"] == "WAE_MMD_Config":
        return terms["recon_loss"] / (model.get("reconstruction_loss_scale", 1.0) * values)
    if model["name"] in _VAES and model["reconstruction_loss"] == "mse":
        mean = config["engine"].get("reduction") == "mean"
        return 2 * terms["recon_loss"] / (1 if mean else values)
    return None
