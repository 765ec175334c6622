"""LPIPS as a run's `evaluation.lpips` asks for it: which distances there are, and which not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from evaluate.metric import AS_PUBLISHED
from evaluate.metrics.lpips import (
    TRUNKS,
    WeightsError,
    find_weights,
    load_lpips,
    lpips_distance,
    remedy,
)
from evaluate.registry import lpips_keys, lpips_metric
from study.errors import StudyError
from study.progress import say_once
from study.schema import Evaluation

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Perceptual:
    """LPIPS distances by metric key, and why those that were asked for and are not there are not.

    `missing` names no folder: it is published with the results.
    """

    distances: dict[str, Distance] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def lacking(
    how: Evaluation, weights: Path | None, shape: tuple[int, ...] | None = None
) -> dict[str, str]:
    """Key -> why, of each LPIPS that is asked for and cannot be had.

    `shape` is the images' C x H x W, if it is known yet.
    """
    missing = {}
    for key, backbone in lpips_keys(how.lpips).items():
        trunk = TRUNKS[backbone]
        if shape is not None and min(shape[1:]) < trunk.least:
            missing[key] = (
                f"{trunk.title} takes images of at least {trunk.least} pixels a side, "
                f"these are {shape[1]}x{shape[2]}"
            )
        elif find_weights(backbone, weights) is None:
            missing[key] = f"{trunk.file} was not found"
    return missing


def perceptual(
    how: Evaluation, weights: Path | None, shape: tuple[int, ...], device: torch.device
) -> Perceptual:
    """The distances that can be had, their networks on `device`. Each reason why one cannot is
    said once a process. StudyError where a file of weights is damaged."""
    missing = lacking(how, weights, shape)
    for key, why in missing.items():
        say_once(remedy_of(key, why, how, weights))
    distances = {}
    for key, backbone in lpips_keys(how.lpips).items():
        if key not in missing:
            net = load_trunk(backbone, weights).to(device)
            distances[key] = partial(lpips_distance, net, rescale=key != AS_PUBLISHED["LPIPS"])
    return Perceptual(distances, missing)


def load_trunk(backbone: str, weights: Path | None) -> torch.nn.Module:
    try:
        return load_lpips(backbone, find_weights(backbone, weights))
    except WeightsError as error:
        raise StudyError(str(error)) from None


def remedy_of(key: str, why: str, how: Evaluation, weights: Path | None) -> str:
    """One line: what is not measured, why, and which file goes where."""
    backbone = lpips_keys(how.lpips)[key]
    trunk, title = TRUNKS[backbone], lpips_metric(key, backbone).title
    if trunk.file not in why:
        return f"{title} is not measured: {why}"
    return (
        f"{title} is not measured: {why}; {remedy(backbone, weights)}, "
        f"or give its folder by --weights"
    )
