"""Measure one model on one split in one pass: per-image values, and numbers of the whole split."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluate.features import Features
from evaluate.likelihood import log_likelihood, negative_log_likelihood
from evaluate.metric import AS_PUBLISHED
from evaluate.metrics.active_units import LatentMoments
from evaluate.metrics.bits import bits_per_dimension
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.elbo import elbo
from evaluate.metrics.reconstruction import RECONSTRUCTION
from evaluate.metrics.sharpness import sharpness
from evaluate.partial import Partial, blocks
from evaluate.perceptual import Perceptual
from evaluate.published import as_published
from evaluate.result import Result, Values, part
from evaluate.sets import FeatureSet
from evaluate.split import encoded_numbers, reconstruction_bits
from study.errors import RunFailed
from study.progress import progress
from study.schema import Evaluation, GaussianLikelihood
from train.dataset import to_unit
from train.latents.base import Encoded, GaussianPosterior, Latents
from train.latents.draws import IMPORTANCE, POSTERIOR, Noise


@dataclass(frozen=True)
class Measured:
    """One batch: B values of each metric (float64, on the CPU), the reconstructions, and how it
    was encoded."""

    values: dict[str, torch.Tensor]
    x_hat: torch.Tensor
    encoded: Encoded


class Meter:
    """Measures batches in order. `seed` is of the draws from the posterior, which go on from batch
    to batch in a block of images; `latent_noise` that of `engine.latent_noise`."""

    def __init__(
        self,
        latents: Latents,
        how: Evaluation,
        lpips: Perceptual,
        seed: int,
        features: Mapping[str, Features] | None = None,
        latent_noise: float | None = None,
    ) -> None:
        self.latents = latents
        self.how = how
        self.lpips = lpips
        self.seed = seed
        self.features = features or {}
        self.latent_noise = latent_noise
        self.begin(0)

    def begin(self, block: int) -> None:
        """Take the draws of a block of images, from its first on."""
        self.noise = Noise(self.seed, POSTERIOR, block)
        self.importance = Noise(self.seed, IMPORTANCE, block)

    def measure(self, x: torch.Tensor, data: bool = False) -> Measured:
        """Every metric that is defined for the model; RunFailed if one is not finite.

        `data`: whether these are images of the data, and not samples.
        """
        encoded = self.latents.encode(x)
        x_hat = self.latents.decode(encoded.z)
        refuse_unless_finite("a reconstruction", x_hat)
        values = {key: metric(x, x_hat) for key, metric in RECONSTRUCTION.items()}
        sampled = x_hat
        if encoded.posterior is not None:
            bound, sampled = self._from_posterior(x, encoded)
            values |= bound
        if data:
            values |= self._of_data(x, encoded, values["BCE"])
        for key, distance in self.lpips.distances.items():
            values[key] = distance(x, sampled if key == AS_PUBLISHED["LPIPS"] else x_hat)
        return Measured(_finite(values), x_hat, encoded)

    def _of_data(
        self, x: torch.Tensor, encoded: Encoded, bce: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The metrics that a sample and its reconstruction have not got."""
        q, how, values = encoded.posterior, self.how, {}
        if how.nll_samples and isinstance(q, GaussianPosterior):
            draws = how.nll_samples, self.importance
            values["NLL"] = negative_log_likelihood(self.latents, x, q, how.likelihood, *draws)
        if how.finite:
            values |= reconstruction_bits(bce, x[0].numel())
        return values

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
            log_likelihoods.append(log_likelihood(self.how.likelihood, x, x_hat))
            first = x_hat if first is None else first
        refuse_unless_finite("a sampled reconstruction", first)
        bound = elbo(torch.stack(log_likelihoods), divergence)
        values = {"KL": divergence, "ELBO": bound}
        if isinstance(self.how.likelihood, GaussianLikelihood):
            values["bits/dim"] = bits_per_dimension(bound, x[0].numel())
        return values | as_published(self.latents.model, x, first, divergence), first


def _finite(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The values in float64 on the CPU: one copy, since each waits for the GPU; RunFailed where one
    is not finite."""
    together = torch.stack([value.double() for value in values.values()]).cpu()
    on_cpu = dict(zip(values, together, strict=True))
    for key, value in on_cpu.items():
        refuse_unless_finite(key, value)
    return on_cpu


def refuse_unless_finite(what: str, tensor: torch.Tensor) -> None:
    """RunFailed, beginning with `what`, for NaN or infinity."""
    if not torch.isfinite(tensor).all():
        raise RunFailed(f"{what} is not finite: the model's weights are not fit to be measured")


def batches(
    images: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[tuple[int, torch.Tensor]]:
    """uint8 images, a batch at a time as float32 in [0, 1] on `device`: start, x."""
    for start in range(0, len(images), batch_size):
        yield start, to_unit(images[start : start + batch_size]).to(device)


def named(what: str, start: int, count: int, work: Callable[[], Any]) -> Any:
    """`work()`; where it raises RunFailed, the images are named."""
    try:
        return work()
    except RunFailed as error:
        raise RunFailed(f"{what}, images {start} to {start + count - 1}: {error}") from None


@torch.inference_mode()
def measure(
    meter: Meter, images: np.ndarray, batch_size: int, what: str, partial: Partial | None = None
) -> Result:
    """Reconstructions of uint8 images N x C x H x W. RunFailed, naming the images, where one is
    not finite. Blocks that `partial` has are not measured again."""
    partial = partial or Partial()
    total = _Total(meter)
    with progress(len(images), what, "image") as bar:
        for number, block in enumerate(blocks(len(images))):
            name = f"reconstruction-{number}"
            arrays = partial.get(name)
            if arrays is None:
                arrays = _measure_block(meter, number, block, images, batch_size, what, bar)
                partial.put(name, arrays)
            else:
                bar.update(len(block))
            total.take(arrays)
    return total.result()


def _measure_block(
    meter: Meter,
    number: int,
    block: range,
    images: np.ndarray,
    batch_size: int,
    what: str,
    bar: Any,
) -> dict[str, np.ndarray]:
    """All that is known of a block when it is done, as arrays by name."""
    meter.begin(number)
    values, spread, codes = Values(), Diversity(), meter.latents.codebook
    latents = LatentMoments()
    counts = None if codes is None else np.zeros(codes, np.int64)
    shown = images[block.start : block.stop]
    for start, x in batches(shown, batch_size, meter.latents.device):
        at = block.start + start
        measured = named(what, at, len(x), lambda x=x: meter.measure(x, data=True))
        values.add({f"value.{key}": value for key, value in measured.values.items()})
        values.add({"sharpness": sharpness(x)})
        if meter.how.sharpness:
            values.add({"sharpness.again": sharpness(measured.x_hat)})
        for word, features in meter.features.items():
            values.add({f"features.{word}": features.extract(x).cpu().numpy()})
        spread.add(x)
        if counts is not None:
            found = measured.encoded.codes.flatten().cpu()
            counts += torch.bincount(found, minlength=codes).numpy()
        elif measured.encoded.z.ndim == 2:
            latents.add(measured.encoded.z)
        if measured.encoded.posterior is not None:
            values.add({"posterior": np.ones(len(x), bool)})
        bar.update(len(x))
    arrays = values.whole() | {f"spread.{k}": v for k, v in spread.state().items()}
    if counts is not None:
        arrays["codes"] = counts
    elif latents.count:
        arrays |= {f"latents.{k}": v for k, v in latents.state().items()}
    return arrays


class _Total:
    """Blocks, put together."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.values = Values()
        self.sharp: list[np.ndarray] = []
        self.sharp_again: list[np.ndarray] = []
        self.spread = Diversity()
        self.latents = LatentMoments()
        self.counts: np.ndarray | None = None
        self.features = {word: FeatureSet(meter.how.feature_images) for word in meter.features}
        self.posterior = False

    def take(self, arrays: dict[str, np.ndarray]) -> None:
        self.values.add(part(arrays, "value."))
        self.sharp.append(arrays["sharpness"])
        if (again := arrays.get("sharpness.again")) is not None:
            self.sharp_again.append(again)
        self.spread.merge(Diversity.of(part(arrays, "spread.")))
        if found := part(arrays, "latents."):
            self.latents.merge(LatentMoments.of(found))
        if (codes := arrays.get("codes")) is not None:
            self.counts = codes if self.counts is None else self.counts + codes
        for word, features in part(arrays, "features.").items():
            self.features[word].add(torch.from_numpy(features))
        self.posterior = self.posterior or "posterior" in arrays

    def result(self) -> Result:
        per_image = self.values.whole()
        sharp = float(np.concatenate(self.sharp).mean())
        result = Result(per_image, {}, self.spread.value, sharp, self.features)
        variances = self.latents.variance if self.latents.count > 1 else None
        result.per_split = encoded_numbers(
            self.counts, variances, self.posterior, self.meter.latent_noise
        )
        if self.sharp_again and sharp:
            per_image["sharpness"] = np.concatenate(self.sharp_again) / sharp
        elif self.sharp_again:
            result.missing["sharpness"] = "data that do not vary"
        how = self.meter.how
        if how.nll_samples and self.posterior and "NLL" not in per_image:
            result.missing["NLL"] = "the model's posterior has no density here"
        return result
