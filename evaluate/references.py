"""Reference rows of any study: what a table's floor and ceiling are.

PCA with as many dimensions as a model's latent, the mean image, the data against themselves and,
of a data set that holds every valid image, a perfect sampler. Each is `Latents`, so that the very
same code measures it as measures a model; none has a Pythae model (`model` is None), a posterior,
a KL or an ELBO.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch

from evaluate.principal import Components, mean_image, principal_components
from evaluate.reach import ValidImages
from study.datasets import Dataset
from study.schema import Evaluation
from train.dataset import to_unit
from train.latents.base import COMPONENTS, SAMPLES, Encoded, Latents, Noise, Sampler


@dataclass(frozen=True)
class Reference:
    """A row beside a study's models: `name` of its folder, `order` of its place in tables.

    `latents` are fitted when they are first asked for.
    """

    name: str
    label: str
    definition: str
    order: int
    make: Callable[[], Latents]

    @cached_property
    def latents(self) -> Latents:
        return self.make()


class _Reference(Latents):
    """Latents without a model, on `device`.

    `samplers` needs no training split, and gives the one sampler there is, whatever is asked of
    models.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(None)
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device


class PcaLatents(_Reference):
    """Projection on principal directions; reconstructions and samples are cut off at 0 and 1."""

    def __init__(
        self, components: Components, shape: tuple[int, int, int], device: torch.device
    ) -> None:
        super().__init__(device)
        self.shape = shape
        # float64, in which a product of a batch is that of its images, but for a last bit.
        self._mean = components.mean.to(device)
        self._directions = components.directions.to(device)
        self._deviations = components.variances.sqrt()

    def encode(self, x: torch.Tensor) -> Encoded:
        return Encoded(((x.flatten(1).double() - self._mean) @ self._directions).float())

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        x_hat = z.double() @ self._directions.T + self._mean
        return x_hat.clamp(0, 1).float().reshape(len(z), *self.shape)

    def samplers(self, training: Any = None, asked: Sequence[str] | None = None) -> list[Sampler]:
        noise = Noise(0, SAMPLES)
        deviations = self._deviations.float()

        def draw(count: int) -> torch.Tensor:
            return (noise.draw(count, len(deviations)) * deviations).to(self.device)

        return [
            Sampler(
                "gaussian",
                "z ~ Gaussian of the training data",
                "z drawn from N(0, diag λ), λ the variances of the training images along the "
                "principal directions; images cut off at 0 and 1",
                draw,
            )
        ]


class MeanLatents(_Reference):
    """The training split's mean image in place of each image; its latents have no dimensions."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        super().__init__(device)
        self._mean = mean_image(images).float().to(device)

    def encode(self, x: torch.Tensor) -> Encoded:
        return Encoded(x.new_zeros(len(x), 0))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self._mean.expand(len(z), -1, -1, -1)

    def samplers(self, training: Any = None, asked: Sequence[str] | None = None) -> list[Sampler]:
        return [
            Sampler(
                "mean",
                "the mean image",
                "every sample is the training split's mean image",
                lambda count: torch.zeros(count, 0, device=self.device),
            )
        ]


class DataLatents(_Reference):
    """Each image is its own latent and its own reconstruction; samples are images of the data.

    `sampler` is what makes its sampler of how images are drawn by their index.
    """

    def __init__(
        self,
        images: np.ndarray,
        device: torch.device,
        sampler: Callable[[Callable[[np.ndarray], torch.Tensor], int], Sampler],
    ) -> None:
        super().__init__(device)
        self._images = images
        self._sampler = sampler

    def encode(self, x: torch.Tensor) -> Encoded:
        return Encoded(x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z

    def samplers(self, training: Any = None, asked: Sequence[str] | None = None) -> list[Sampler]:
        def look_up(indices: np.ndarray) -> torch.Tensor:
            return to_unit(self._images[indices]).to(self.device)

        return [self._sampler(look_up, len(self._images))]


def of_training(look_up: Callable[[np.ndarray], torch.Tensor], count: int) -> Sampler:
    """Images by a fixed shuffle: each once before any comes again."""
    generator = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(SAMPLES,)))
    waiting = np.empty(0, np.int64)

    def draw(wanted: int) -> torch.Tensor:
        nonlocal waiting
        while len(waiting) < wanted:
            waiting = np.concatenate([waiting, generator.permutation(count)])
        indices, waiting = waiting[:wanted], waiting[wanted:]
        return look_up(indices)

    return Sampler(
        "data",
        "training images",
        "images of the training split, drawn without replacement (all of them before one comes "
        "again)",
        draw,
    )


def of_valid(look_up: Callable[[np.ndarray], torch.Tensor], count: int) -> Sampler:
    """Images drawn uniformly, each on its own."""
    noise = Noise(0, COMPONENTS)
    return Sampler(
        "perfect",
        "valid images drawn uniformly",
        f"images drawn uniformly, with replacement, from the {count:,} valid ones",
        lambda wanted: look_up((noise.uniform(wanted) * count).astype(np.int64)),
    )


def references_of(
    latent_dims: Sequence[int], how: Evaluation, dataset: Dataset, device: torch.device
) -> list[Reference]:
    """The reference rows of a study whose rows have `latent_dims`, in a table's order.

    PCA is fitted to the training split once for all dimensions, when the first of them is asked
    for; StudyError where the data cannot be read. A dimension above min(N, D) is cut to it.
    """
    images = dataset.images("train")
    made = _pca_rows(latent_dims, images, dataset.shape, device)
    made.append(
        (
            "mean_image",
            "mean image",
            "the training split's mean image in place of every image",
            lambda: MeanLatents(images, device),
        )
    )
    made.append(
        (
            "data",
            "the data itself",
            "each image in place of its reconstruction, training images as samples",
            lambda: DataLatents(images, device, of_training),
        )
    )
    if how.finite is not None:
        valid = ValidImages(dataset, how.finite)
        made.append(
            (
                "perfect_sampler",
                "perfect sampler",
                "each image in place of its reconstruction, samples drawn uniformly from the valid "
                "images",
                lambda: DataLatents(valid.images, device, of_valid),
            )
        )
    return [
        Reference(name, label, definition, order, make)
        for order, (name, label, definition, make) in enumerate(made)
    ]


def _pca_rows(
    latent_dims: Sequence[int],
    images: np.ndarray,
    shape: tuple[int, int, int],
    device: torch.device,
) -> list[tuple[str, str, str, Callable[[], Latents]]]:
    most = min(len(images), int(np.prod(shape)))
    counts = sorted({min(count, most) for count in latent_dims})

    @cache
    def whole() -> Components:
        return principal_components(images, counts[-1], device)

    def of(count: int) -> Latents:
        fitted = whole()
        part = Components(fitted.mean, fitted.directions[:, :count], fitted.variances[:count])
        return PcaLatents(part, shape, device)

    rows: list[tuple[str, str, str, Callable[[], Latents]]] = []
    for count in counts:
        definition = (
            f"projection on the {count} leading principal components of the "
            f"{len(images):,} training images, cut off at 0 and 1"
        )
        label = f"PCA ({count} dimensions)"
        rows.append((f"pca-{count}", label, definition, partial(of, count)))
    return rows
