"""What the talk printed as "BCE" and "ELBO" (SOURCES: its repository computes them so)."""

from collections.abc import Callable
from typing import Any

import torch

from evaluate.metric import AS_PUBLISHED
from evaluate.metrics.bce import bce
from evaluate.metrics.mse import mse
from evaluate.metrics.reconstruction import RECONSTRUCTION


def _beta_rows(
    config: Any, x: torch.Tensor, x_hat: torch.Tensor, kl: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pythae's `recon_loss` and loss: ½ SSE (or BCE) summed over an image, and that + β KL."""
    if config.reconstruction_loss == "mse":
        error = 0.5 * mse(x, x_hat) * x[0].numel()
    else:
        error = bce(x, x_hat) * x[0].numel()
    return error, error + getattr(config, "beta", 1.0) * kl


def _vaegan_row(
    config: Any, x: torch.Tensor, x_hat: torch.Tensor, kl: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """BCE per pixel, and MSE per pixel + KL per image."""
    return bce(x, x_hat), mse(x, x_hat) + kl


Terms = Callable[[Any, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
# Only the models that the talk's tables have such a number for.
ROWS: dict[str, Terms] = {
    "VAEConfig": _beta_rows,
    "BetaVAEConfig": _beta_rows,
    "VAEGANConfig": _vaegan_row,
}


# By their definitions, but of the sampled z.
_OF_A_DRAW = ("MSE", "SSIM", "GMSD")


def as_published(
    model: Any, x: torch.Tensor, x_hat: torch.Tensor, kl: torch.Tensor
) -> dict[str, torch.Tensor]:
    """B values each; nothing for a model the talk has not, and no ELBO for one that is trained
    with another loss than Pythae's (`engine.reduction`, `engine.sampled_std`).

    `x_hat` is decoded from one sampled z, as Pythae's `forward` does; `kl` is B.
    """
    config = getattr(model, "model_config", None)
    terms = ROWS.get(type(config).__name__)
    if terms is None:
        return {}
    error, loss = terms(config, x, x_hat, kl)
    found = {AS_PUBLISHED["BCE"]: error}
    if not (getattr(model, "reduction", None) or getattr(model, "log_variances", 1.0) != 1.0):
        found[AS_PUBLISHED["ELBO"]] = loss
    return found | {AS_PUBLISHED[key]: RECONSTRUCTION[key](x, x_hat) for key in _OF_A_DRAW}
