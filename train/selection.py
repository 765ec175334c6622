"""What chooses the best model: the loss of the eval split, or a metric of its reconstructions.

The metric is evaluation's: the same functions on reconstructions from the same latents (the
posterior's mean, where there is a posterior), averaged over images. What `python -m evaluate`
prints for the eval split is the number that chose the model.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from evaluate.metrics.lpips import (
    TRUNKS,
    WeightsError,
    find_weights,
    load_lpips,
    lpips_distance,
    remedy,
)
from evaluate.metrics.reconstruction import RECONSTRUCTION
from evaluate.metrics.ssim import SETTINGS
from study.errors import StudyError
from study.runs import Run
from train.latents import latents_of

Metric = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_BACKBONE = "vgg"
_HIGHER_IS_BETTER = ("SSIM",)
# The smallest side of an image in pixels: SSIM's window, LPIPS's trunk; GMSD is 0 for all pairs of
# images below its own.
LEAST = {"SSIM": SETTINGS["kernel_size"], "GMSD": 3, "LPIPS": TRUNKS[_BACKBONE].least}


def check_selection(run: Run) -> None:
    """StudyError where the metric that is to choose cannot be measured: on images too small for
    it, or without LPIPS's weights in torch's hub cache. `run` must know the data's shape."""
    _metric(run.config.engine.select, run.model, f"{run.file}: ")


class Selection:
    """A diagnostic of eval batches (`train.diagnostics`) by which the best model is chosen.

    `select` is `engine.select`; `key` the name of the eval term that chooses: `loss`, or the
    metric's, which `take` gives. StudyError as of `check_selection`, without the file.
    """

    def __init__(self, select: str, model: Any) -> None:
        self.key = select
        self.latents = latents_of(model)
        self.metric = _metric(select, model.model_config)
        self.sum: torch.Tensor | None = None
        self.images = 0

    @torch.no_grad()
    def add(self, inputs: dict[str, torch.Tensor], output: dict[str, Any]) -> None:
        """Take in one batch; its reconstructions are made anew, since a VAE's are of a draw."""
        if self.metric is None:
            return
        x = inputs["data"]
        x_hat = self.latents.decode(self.latents.encode(x).z)
        # Metrics refuse NaN each in its own words; here it becomes the value.
        finite = x_hat.isfinite().flatten(1).all(1)
        values = self.metric(x, x_hat.nan_to_num(0.0, 1.0, 0.0)).double()
        total = torch.where(finite, values, torch.nan).sum()
        self.sum = total if self.sum is None else self.sum + total
        self.images += len(x)

    def take(self) -> dict[str, float]:
        """The mean over the images seen, NaN where a reconstruction was not finite; starts anew."""
        if self.sum is None:
            return {}
        mean = float(self.sum) / self.images
        self.sum, self.images = None, 0
        return {self.key: mean}

    def state(self) -> dict[str, Any]:
        """What it has summed up, for a checkpoint."""
        return {} if self.sum is None else {"sum": self.sum, "images": self.images}

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        """Go on from what `state` gave."""
        self.sum = state["sum"].to(device) if state else None
        self.images = state.get("images", 0)

    def better(self, new: float, old: float | None) -> bool:
        """Whether a model of `new` is to be kept in place of one of `old` (None: there is none).

        A tie keeps the older one; NaN is worse than anything, and no better than nothing.
        """
        if old is None or math.isnan(old):
            return not math.isnan(new)
        return new > old if self.key in _HIGHER_IS_BETTER else new < old


def _metric(select: str, config: Any, file: str = "") -> Metric | None:
    if select == "loss":
        return None
    height, width = config.input_dim[1:]
    least = LEAST.get(select, 1)
    if min(height, width) < least:
        raise StudyError(
            f"{file}engine.select: {select} takes images of at least {least} pixels a side, these "
            f"are {height}x{width}; MSE or BCE take any"
        )
    return _lpips(file) if select == "LPIPS" else RECONSTRUCTION[select]


def _lpips(config_file: str) -> Metric:
    path = find_weights(_BACKBONE)
    if path is None:
        raise StudyError(
            f"{config_file}engine.select: LPIPS needs {TRUNKS[_BACKBONE].file}, which was not "
            f"found; {remedy(_BACKBONE)}, or let another metric choose"
        )
    try:
        net = load_lpips(_BACKBONE, path)
    except WeightsError as error:
        raise StudyError(f"{config_file}engine.select: {error}") from None

    def distance(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        return lpips_distance(net.to(x.device), x, x_hat)

    return distance
