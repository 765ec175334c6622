"""Networks in whose features sets of images are compared, as `evaluation.features` names them.

Inception where its weights are there; a small classifier of ours, trained on the data set's own
labels. What is measured in one never goes by the other's name (`evaluate.metric.feature_key`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evaluate.features import inception
from evaluate.features.classifier import classifier_features
from evaluate.features.recipe import RECIPE
from evaluate.features.store import FILE, Trained, read_classifier, stored_classifier
from evaluate.features.targets import find_targets
from evaluate.metric import FEATURES, OF_FEATURES
from evaluate.metrics.weights import WeightsError
from study.datasets import Dataset
from study.errors import StudyError
from study.progress import say_once
from study.schema import Evaluation


@dataclass(frozen=True)
class Features:
    """A network and what is published of it.

    `extract`: B x C x H x W images in [0, 1] on the network's device -> B x `dimensions`, float32;
    an image's features do not depend on the others of its batch. `settings` tell two networks
    apart: they hold the SHA-256 of the weights.
    """

    word: str
    dimensions: int
    settings: dict[str, Any]
    extract: Callable[[torch.Tensor], torch.Tensor]


def lacking_features(
    how: Evaluation, dataset: Dataset | None, weights: Path | None
) -> dict[str, str]:
    """Word -> why, of each network that `evaluation.features` asks for and cannot be had.

    Nothing is trained or loaded; without a data set, which is not prepared yet, weights alone
    decide. The reasons name no folder: they are published.
    """
    missing = {}
    if "inception" in how.features and inception.find_inception(weights) is None:
        missing["inception"] = f"{inception.FILE} was not found"
    if dataset is not None and "classifier" in how.features:
        targets = find_targets(dataset)
        if isinstance(targets, str):
            missing["classifier"] = targets
    return missing


def load_features(
    how: Evaluation, dataset: Dataset, weights: Path | None, device: torch.device
) -> dict[str, Features]:
    """The networks that are asked for and can be had, on `device`, by their word.

    The classifier is trained where the data set has none yet. Why one cannot be had is said once
    a process. StudyError where Inception's file is damaged, RunFailed where training fails.
    """
    missing = lacking_features(how, dataset, weights)
    for word, why in missing.items():
        what = f"{', '.join(OF_FEATURES)} ({FEATURES[word]}) are not measured: {why}"
        say_once(f"{what}; {inception.remedy(weights)}" if word == "inception" else what)
    load = {
        "inception": lambda: _inception(weights, device),
        "classifier": lambda: _classifier(dataset, device),
    }
    return {word: load[word]() for word in dict.fromkeys(how.features) if word not in missing}


def same_classifier(dataset: Dataset, recorded: Mapping[str, Any]) -> bool:
    """Whether the classifier that `recorded` settings are of is the one measured in now.

    Where none is stored, of a data folder that cannot be written to say, its recipe decides.
    """
    targets = find_targets(dataset)
    stored = None if isinstance(targets, str) else read_classifier(dataset, targets)
    if stored is None:
        return recorded["recipe"] == RECIPE.version
    return recorded["sha256"] == _digest(stored)


def _digest(trained: Trained) -> str:
    """So much of the weights' SHA-256 as tells classifiers apart."""
    return trained.record["sha256"][:12]


def _inception(weights: Path | None, device: torch.device) -> Features:
    try:
        net, digest = inception.load_inception(inception.find_inception(weights))
    except WeightsError as error:
        raise StudyError(str(error)) from None
    settings = {"weights": inception.FILE, "sha256": digest[:12], "layer": "pool3"}
    extract = partial(inception.inception_features, net.to(device))
    return Features("inception", inception.DIMENSIONS, settings, extract)


def _classifier(dataset: Dataset, device: torch.device) -> Features:
    trained = stored_classifier(dataset, find_targets(dataset), device)
    record, recipe = trained.record, trained.record["recipe"]
    settings = {
        "weights": FILE,
        "sha256": _digest(trained),
        "recipe": recipe["version"],
        "targets": record["targets"],
        "classes": sum(record["classes"]),
        "steps": recipe["steps"],
        "batch": recipe["batch"],
        "seed": recipe["seed"],
        "images": record["images"],
        "held_out": record["held_out"],
        "accuracy": record["accuracy"],
        "chance": record["chance"],
    }
    extract = partial(classifier_features, trained.net.to(device))
    return Features("classifier", recipe["dimensions"], settings, extract)
