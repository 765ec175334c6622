"""Measure one trained run on one split: per-image values and their means."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluate.metrics.bce import bce
from evaluate.metrics.elbo import bernoulli_log_likelihood, elbo, gaussian_log_likelihood
from evaluate.metrics.gmsd import gmsd
from evaluate.metrics.kl import kl
from evaluate.metrics.mse import mse
from evaluate.metrics.ssim import ssim
from study.errors import RunFailed
from study.progress import progress
from study.schema import Evaluation, GaussianLikelihood
from train.dataset import to_unit

RECONSTRUCTION = {"MSE": mse, "BCE": bce, "SSIM": ssim, "GMSD": gmsd}


@dataclass
class Posterior:
    """q(z|x) of a batch: mean, and log-variance for variational models (B x D each)."""

    mean: torch.Tensor
    log_var: torch.Tensor | None


def encode(model: Any, x: torch.Tensor) -> Posterior:
    """q(z|x) of images B x C x H x W in [0, 1]; an autoencoder's latent is its mean."""
    output = model.encoder(x)
    return Posterior(output["embedding"], output.get("log_covariance"))


def decode(model: Any, z: torch.Tensor) -> torch.Tensor:
    """Images B x C x H x W of latents B x D."""
    return model.decoder(z)["reconstruction"]


class Noise:
    """Standard normal draws in image order, the same whatever the batch size or the device.

    numpy's generator fills an array value after value, so ten draws of one image are the draws
    of a batch of ten; torch's generators do not promise that.
    """

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def draw(self, *shape: int) -> torch.Tensor:
        """float32 N(0, 1) of `shape`, images first."""
        return torch.from_numpy(self.generator.standard_normal(shape, dtype=np.float32))


def _elbo(model: Any, x: torch.Tensor, q: Posterior, how: Evaluation, noise: Noise) -> torch.Tensor:
    draws = noise.draw(len(x), how.elbo_samples, q.mean.shape[1]).to(x.device)
    std = torch.exp(0.5 * q.log_var)
    log_likelihoods = []
    for draw in draws.unbind(1):
        x_hat = decode(model, q.mean + std * draw)
        if isinstance(how.likelihood, GaussianLikelihood):
            log_likelihoods.append(gaussian_log_likelihood(x, x_hat, how.likelihood.sigma))
        else:
            log_likelihoods.append(bernoulli_log_likelihood(x, x_hat))
    return elbo(torch.stack(log_likelihoods), kl(q.mean, q.log_var))


def measure_batch(
    model: Any, x: torch.Tensor, how: Evaluation, noise: Noise
) -> dict[str, torch.Tensor]:
    """Every metric that is defined for the model, B values each; RunFailed if not finite."""
    q = encode(model, x)
    x_hat = decode(model, q.mean)
    _refuse_unless_finite("a reconstruction", x_hat)
    values = {key: metric(x, x_hat) for key, metric in RECONSTRUCTION.items()}
    if q.log_var is not None:
        values["KL"] = kl(q.mean, q.log_var)
        values["ELBO"] = _elbo(model, x, q, how, noise)
    for key, value in values.items():
        _refuse_unless_finite(key, value)
    return values


def _refuse_unless_finite(what: str, tensor: torch.Tensor) -> None:
    if not torch.isfinite(tensor).all():
        raise RunFailed(f"{what} is not finite: the model's weights are not fit to be measured")


@torch.inference_mode()
def measure(
    model: Any,
    images: np.ndarray,
    how: Evaluation,
    seed: int,
    batch_size: int,
    device: torch.device,
    what: str = "evaluate",
) -> dict[str, np.ndarray]:
    """Per-image values (float64, N each) of a model in eval mode on uint8 N x C x H x W images.

    RunFailed, naming the images, where a reconstruction is not finite.
    """
    model = model.to(device)
    noise = Noise(seed)
    parts: dict[str, list[np.ndarray]] = {}
    with progress(len(images), what, "image") as bar:
        for start in range(0, len(images), batch_size):
            x = to_unit(images[start : start + batch_size]).to(device)
            try:
                measured = measure_batch(model, x, how, noise)
            except RunFailed as error:
                last = start + len(x) - 1
                raise RunFailed(f"{what}, images {start} to {last}: {error}") from None
            for key, value in measured.items():
                parts.setdefault(key, []).append(value.double().cpu().numpy())
            bar.update(len(x))
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}
