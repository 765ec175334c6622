"""Measure one trained run on one split: per-image values, and numbers of the whole split."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from evaluate.metric import AS_PUBLISHED
from evaluate.metrics.codebook import perplexity, usage
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.elbo import bernoulli_log_likelihood, elbo, gaussian_log_likelihood
from evaluate.metrics.reconstruction import RECONSTRUCTION
from evaluate.metrics.sharpness import sharpness
from evaluate.perceptual import Perceptual
from evaluate.published import as_published
from study.errors import RunFailed
from study.progress import progress
from study.schema import Evaluation, GaussianLikelihood
from train.dataset import to_unit
from train.latents.base import POSTERIOR, Encoded, Latents, Noise


@dataclass(frozen=True)
class Measured:
    """One batch: B values of each metric, the reconstructions, the codes (None: no codebook)."""

    values: dict[str, torch.Tensor]
    x_hat: torch.Tensor
    codes: torch.Tensor | None


class Meter:
    """Measures batches in order. `seed` is of the ELBO's draws, which go on from batch to batch."""

    def __init__(self, latents: Latents, how: Evaluation, lpips: Perceptual, seed: int) -> None:
        self.latents = latents
        self.how = how
        self.lpips = lpips
        self.noise = Noise(seed, POSTERIOR)

    def measure(self, x: torch.Tensor) -> Measured:
        """Every metric that is defined for the model; RunFailed if one is not finite."""
        encoded = self.latents.encode(x)
        x_hat = self.latents.decode(encoded.z)
        refuse_unless_finite("a reconstruction", x_hat)
        values = {key: metric(x, x_hat) for key, metric in RECONSTRUCTION.items()}
        sampled = x_hat
        if encoded.posterior is not None:
            bound, sampled = self._from_posterior(x, encoded)
            values |= bound
        for key, distance in self.lpips.distances.items():
            values[key] = distance(x, sampled if key == AS_PUBLISHED["LPIPS"] else x_hat)
        for key, value in values.items():
            refuse_unless_finite(key, value)
        return Measured(values, x_hat, encoded.codes)

    def _from_posterior(
        self, x: torch.Tensor, encoded: Encoded
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """KL, ELBO and the columns as published, and the first draw's reconstructions."""
        q, z = encoded.posterior, encoded.z
        draws = self.noise.draw(len(x), self.how.elbo_samples, *z.shape[1:]).to(x.device)
        divergence = q.kl()
        log_likelihoods = []
        first = None
        for draw in draws.unbind(1):
            x_hat = self.latents.decode(q.sample(draw))
            log_likelihoods.append(self._log_likelihood(x, x_hat))
            first = x_hat if first is None else first
        refuse_unless_finite("a sampled reconstruction", first)
        values = {"KL": divergence, "ELBO": elbo(torch.stack(log_likelihoods), divergence)}
        config = self.latents.model.model_config
        return values | as_published(config, x, first, divergence), first

    def _log_likelihood(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        if isinstance(self.how.likelihood, GaussianLikelihood):
            return gaussian_log_likelihood(x, x_hat, self.how.likelihood.sigma)
        return bernoulli_log_likelihood(x, x_hat)


def refuse_unless_finite(what: str, tensor: torch.Tensor) -> None:
    """RunFailed, beginning with `what`, for NaN or infinity."""
    if not torch.isfinite(tensor).all():
        raise RunFailed(f"{what} is not finite: the model's weights are not fit to be measured")


class Values:
    """Per-image values of many batches, by key."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, values: dict[str, torch.Tensor]) -> None:
        for key, value in values.items():
            self.parts.setdefault(key, []).append(value.double().cpu().numpy())

    def whole(self) -> dict[str, np.ndarray]:
        """float64, N each, images in order."""
        return {key: np.concatenate(arrays) for key, arrays in self.parts.items()}


@dataclass
class Result:
    """What was measured on a split: values per image, numbers per split, and the data's own.

    `diversity` and `sharpness` are those of the original images, which generations are held
    against (None: not defined, for a single image say).
    """

    per_image: dict[str, np.ndarray]
    per_split: dict[str, float] = field(default_factory=dict)
    diversity: float | None = None
    sharpness: float | None = None

    @property
    def mean_image_mse(self) -> float | None:
        """MSE of the split's mean image in place of each reconstruction: what no model should miss.

        The squared distance of two distinct images is on average twice the unbiased variance.
        """
        count = len(self.per_image["MSE"])
        return None if self.diversity is None else self.diversity**2 / 2 * (count - 1) / count


def batches(
    images: np.ndarray, batch_size: int, device: torch.device, what: str
) -> Iterator[tuple[int, torch.Tensor]]:
    """uint8 images, a batch at a time as float32 in [0, 1] on `device`, with a bar: start, x."""
    with progress(len(images), what, "image") as bar:
        for start in range(0, len(images), batch_size):
            x = to_unit(images[start : start + batch_size]).to(device)
            yield start, x
            bar.update(len(x))


def named(what: str, start: int, count: int, work: Callable[[], Any]) -> Any:
    """`work()`; where it raises RunFailed, the images are named."""
    try:
        return work()
    except RunFailed as error:
        raise RunFailed(f"{what}, images {start} to {start + count - 1}: {error}") from None


@torch.inference_mode()
def measure(meter: Meter, images: np.ndarray, batch_size: int, what: str) -> Result:
    """Reconstructions of uint8 images N x C x H x W. RunFailed, naming the images, where one is
    not finite."""
    values, spread, sharp = Values(), Diversity(), []
    codebook = meter.latents.codebook
    counts = None if codebook is None else torch.zeros(codebook, dtype=torch.int64)
    for start, x in batches(images, batch_size, meter.latents.device, what):
        measured = named(what, start, len(x), lambda x=x: meter.measure(x))
        values.add(measured.values)
        spread.add(x)
        sharp.append(sharpness(x).double().cpu())
        if counts is not None:
            counts += torch.bincount(measured.codes.flatten().cpu(), minlength=codebook)
    result = Result(values.whole(), {}, spread.value, float(torch.cat(sharp).mean()))
    if counts is not None:
        result.per_split = {"perplexity": perplexity(counts), "usage": usage(counts)}
    return result
