"""All that is measured of one model on one split: a trained run's, or a reference row's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from evaluate.features import Features
from evaluate.generate import Asked, Generation, generate, to_bytes
from evaluate.latent_space import Encoder, LatentMeasures, is_flat, measure_latents
from evaluate.measure import Meter, batches, measure
from evaluate.partial import Partial
from evaluate.perceptual import Perceptual
from evaluate.reach import Neighbours, ValidImages
from evaluate.result import Result
from study.datasets import Dataset
from study.errors import RunFailed, one_line
from study.progress import progress
from study.schema import Evaluation
from train.dataset import to_unit
from train.latents.base import Latents


@dataclass(frozen=True)
class Networks:
    """What images are compared by beside their pixels, on one device; `missing` says why what
    was asked for is not there."""

    lpips: Perceptual
    features: dict[str, Features]
    missing: dict[str, str]


@dataclass(frozen=True)
class Measurement:
    """What came out; `latents` where the model has flat ones and they are asked for."""

    result: Result
    generations: list[Generation]
    pictures: dict[str, np.ndarray]
    latents: LatentMeasures | None = None


@dataclass
class Work:
    """A model and how it is measured. `latent_noise` is the run's `engine.latent_noise`."""

    latents: Latents
    how: Evaluation
    dataset: Dataset
    split: str
    networks: Networks
    seed: int
    what: str
    batch_size: int = 64
    latent_noise: float | None = None
    partial: Partial = field(default_factory=Partial)

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 N x C x H x W, mapped."""
        return self.dataset.images(self.split)[: self.how.images]

    def measure(self) -> Measurement:
        """RunFailed where a value is not finite, or memory is short."""
        try:
            result = measure(self._meter(), self.images, self.batch_size, self.what, self.partial)
            latents = self._latents(result)
            generations = self._generations(result, latents)
            return Measurement(result, generations, self._pictures(generations), latents)
        except (RuntimeError, MemoryError) as error:
            raise RunFailed(f"{self.what}: {one_line(error)}{_of_memory(error)}") from error

    def _meter(self) -> Meter:
        networks = self.networks
        return Meter(
            self.latents,
            self.how,
            networks.lpips,
            self.seed,
            networks.features,
            self.latent_noise,
        )

    def _latents(self, result: Result) -> LatentMeasures | None:
        """Encoded anew, and what is found taken into the `result`, too."""
        how, shape = self.how.latents, self.dataset.shape
        if how is None or not is_flat(self.latents, shape):
            return None
        encoder = Encoder(self.latents, self.seed, self.batch_size, self.what, self.partial)
        found = measure_latents(encoder, self.images, self.dataset, self.split, how)
        result.per_image |= found.per_image
        result.per_split |= found.per_split
        result.missing |= found.missing
        return found

    def _generations(self, data: Result, found: LatentMeasures | None) -> list[Generation]:
        """One for each sampler; the training split is read where a sampler needs it."""
        how = self.how
        try:
            with torch.inference_mode():
                samplers = self.latents.samplers(self._training, how.samplers)
        except RunFailed as error:
            raise RunFailed(f"{self.what}: {error}") from None
        finite = ValidImages(self.dataset, how.finite) if how.finite else None
        near = Neighbours(self.images, self.dataset.images("train"), finite)
        why = found.no_holes if found else None
        asked = Asked(how.samples, how.pictures, self.batch_size, data, near, why)
        return [generate(self._meter(), s, asked, self.what, self.partial) for s in samplers]

    def _training(self) -> Iterator[torch.Tensor]:
        """The training split in batches, with a bar."""
        images = self.dataset.images("train")
        with progress(len(images), f"{self.what}, training split", "image") as bar:
            for _, x in batches(images, self.batch_size, self.latents.device):
                yield x
                bar.update(len(x))

    @torch.inference_mode()
    def _pictures(self, generations: list[Generation]) -> dict[str, np.ndarray]:
        """Originals spread over the measured images (the same ones for every run), their
        reconstructions, each sampler's first samples, theirs and the training images nearest to
        them: uint8 N x C x H x W, and the originals' `index`."""
        count = min(self.how.pictures, len(self.images))
        index = np.linspace(0, len(self.images) - 1, count).round().astype(np.int64)
        originals = self.images[index]
        encoded = self.latents.encode(to_unit(originals).to(self.latents.device))
        pictures: dict[str, Any] = {
            "index": index,
            "originals": originals,
            "reconstructions": to_bytes(self.latents.decode(encoded.z)),
        }
        for made in generations:
            key = made.sampler.key
            pictures[f"generations.{key}"] = made.shown
            pictures[f"self_reconstructions.{key}"] = made.reconstructed
            pictures[f"neighbours.{key}"] = made.neighbours
        return pictures


def _of_memory(error: RuntimeError | MemoryError) -> str:
    """What to do about an error where it is of memory: the CPU's allocator raises a plain one."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if known or "DefaultCPUAllocator" in str(error):
        return "; python -m evaluate with a smaller --batch-size needs less"
    return ""
