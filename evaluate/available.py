"""What of the metrics that a run asks for can be had: networks, weights, labels."""

from pathlib import Path
from typing import Any

import torch

from evaluate.catalogue_latents import LATENTS_ONLY
from evaluate.features import inception, lacking_features, load_features
from evaluate.metric import FEATURES, OF_FEATURES, feature_key
from evaluate.perceptual import lacking, load_trunk, perceptual, remedy_of
from evaluate.registry import FINITE_ONLY, GENERATION_KEYS, KEYS, lpips_keys
from evaluate.work import Networks
from study.datasets import Dataset
from study.errors import StudyError
from study.pythae_json import suggest
from study.schema import Evaluation, GaussianLikelihood
from train.execution import device_of


def measuring_device(trainer: Any) -> torch.device:
    """Where a run is measured, with TF32 off: ten bits of mantissa are enough to train with and too
    few to measure with."""
    device = device_of(trainer)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return device


def networks_for(
    how: Evaluation, dataset: Dataset, weights: Path | None, device: torch.device
) -> Networks:
    """LPIPS's and the features' networks on `device`, as far as they can be had."""
    lpips = perceptual(how, weights, dataset.shape, device)
    features = load_features(how, dataset, weights, device)
    return Networks(lpips, features, missing_metrics(how, dataset, weights))


def missing_metrics(
    how: Evaluation, dataset: Dataset | None, weights: Path | None
) -> dict[str, str]:
    """Key -> why, of each metric that is asked for and cannot be had here.

    Without a data set, which is not prepared yet, as far as weights alone decide it.
    """
    missing = lacking(how, weights, dataset.shape if dataset else None)
    for word, why in lacking_features(how, dataset, weights).items():
        missing |= {feature_key(key, word): why for key in OF_FEATURES}
    return missing


def check_required(
    required: list[str], how: Evaluation, weights: Path | None, dataset: Dataset | None = None
) -> None:
    """StudyError where a metric of `--require` is unknown or cannot be measured here, or where
    weights that are asked for are damaged."""
    known = dict.fromkeys((*KEYS, *GENERATION_KEYS))
    by_lower_case = {key.lower(): key for key in known}
    missing = missing_metrics(how, dataset, weights)
    asked = lpips_keys(how.lpips)
    for word in required:
        key = by_lower_case.get(word.lower())
        if key is None:
            hint = suggest(word.lower(), list(by_lower_case))
            raise StudyError(f"--require {word}: not one of {', '.join(known)}{hint}")
        if key in missing:
            raise StudyError(f"--require {word}: {_remedy(key, missing[key], how, weights)}")
        if (section := _not_asked(key, how)) is not None:
            raise StudyError(f"--require {word}: {section} does not ask for it")
    for key, backbone in asked.items():
        if key not in missing:
            load_trunk(backbone, weights)


def _remedy(key: str, why: str, how: Evaluation, weights: Path | None) -> str:
    """Why a metric cannot be measured, and what would help."""
    if key in lpips_keys(how.lpips):
        return remedy_of(key, why, how, weights)
    if key.endswith(f"({FEATURES['inception']})"):
        return f"{key} is not measured: {why}; {inception.remedy(weights)}"
    return f"{key} is not measured: {why}"


def _not_asked(key: str, how: Evaluation) -> str | None:
    """The config key that would have to ask for a metric and does not."""
    if key.startswith("LPIPS") and key not in lpips_keys(how.lpips):
        return "evaluation.lpips"
    of_features = {feature_key(m, word) for word in how.features for m in OF_FEATURES}
    every = {feature_key(m, word) for word in FEATURES for m in OF_FEATURES}
    if key in every - of_features:
        return "evaluation.features"
    if key in FINITE_ONLY and how.finite is None:
        return "evaluation.finite"
    if key in LATENTS_ONLY and how.latents is None:
        return "evaluation.latents"
    if key == "bits/dim" and not isinstance(how.likelihood, GaussianLikelihood):
        return "evaluation.likelihood"
    return "evaluation.nll_samples" if key == "NLL" and not how.nll_samples else None


def check_measured(required: list[str], entry: dict[str, Any]) -> None:
    """StudyError where a metric of `--require` was asked for and could not be measured after all,
    for want of samples say; what a model does not define is no error."""
    lacking = dict(entry["missing"])
    for made in entry["generations"].values():
        lacking |= made["missing"]
    wanted = {word.lower() for word in required}
    for key, why in lacking.items():
        if key.lower() in wanted:
            raise StudyError(f"--require {key}: it was not measured: {why}")
