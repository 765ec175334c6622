"""What is asked of a model's latents, and how each kind of model answers.

A model's kind is in `train.latents`. A further kind is a subclass of `Latents` and a line there:
metrics follow from what its `Encoded` holds (a `posterior`: KL, ELBO and the columns as published;
`codes`: the codebook's).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from evaluate.metrics.kl import kl

# What draws are for. Each has a stream of its own: were the draw from a sample's posterior the one
# that the sample was made of, it would lead back to the sample.
SAMPLES, COMPONENTS, POSTERIOR, IMPORTANCE = range(4)


class Noise:
    """Random draws in image order, the same whatever the batch size or the device.

    numpy's generator fills an array value after value, so ten draws of one image are the draws
    of a batch of ten; torch's generators do not promise that. Streams of one seed (`SAMPLES` and
    its like) are independent of each other, and so are the blocks of a stream.
    """

    def __init__(self, seed: int, stream: int, block: int = 0) -> None:
        key = (stream, block) if block else (stream,)
        self.generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

    def draw(self, *shape: int) -> torch.Tensor:
        """float32 N(0, 1) of `shape`, images first."""
        return torch.from_numpy(self.generator.standard_normal(shape, dtype=np.float32))

    def uniform(self, *shape: int) -> np.ndarray:
        """float64 of `shape` in [0, 1), images first."""
        return self.generator.random(shape)


class Posterior(Protocol):
    """q(z|x) of a batch of B images."""

    def kl(self) -> torch.Tensor:
        """KL(q(z|x) || p(z)) in nats, B values."""

    def sample(self, normal: torch.Tensor) -> torch.Tensor:
        """B latents made from B latents of N(0, 1) draws."""


@dataclass(frozen=True)
class GaussianPosterior:
    """N(mean, diag exp(log_var)), both B x D, against the prior N(0, I)."""

    mean: torch.Tensor
    log_var: torch.Tensor

    def kl(self) -> torch.Tensor:
        return kl(self.mean, self.log_var)

    def sample(self, normal: torch.Tensor) -> torch.Tensor:
        return self.mean + torch.exp(0.5 * self.log_var) * normal


@dataclass(frozen=True)
class Encoded:
    """A batch as the model encodes it.

    `z` is what `Latents.decode` takes for a reconstruction (the posterior's mean where there is
    one), `codes` the indices into a codebook, B x positions.
    """

    z: torch.Tensor
    posterior: Posterior | None = None
    codes: torch.Tensor | None = None


@dataclass(frozen=True)
class Sampler:
    """A way to draw latents for generations; `draw(n)` gives the next n of one fixed sequence."""

    key: str
    title: str
    definition: str
    draw: Callable[[int], torch.Tensor]


class Latents:
    """An autoencoder: the latent is the encoder's `embedding`, samples are drawn from N(0, I)."""

    # Size of the codebook; None where there is none.
    codebook: int | None = None

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(self, x: torch.Tensor) -> Encoded:
        """Images B x C x H x W in [0, 1]."""
        return Encoded(self.model.encoder(x)["embedding"])

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Images B x C x H x W of B latents."""
        return self.model.decoder(z)["reconstruction"]

    def samplers(self, training: Iterable[torch.Tensor]) -> list[Sampler]:
        """The ways to draw latents; `training` gives the training split in batches, if asked.

        Their seed is fixed, so that all runs of one latent size are measured, and shown, on the
        same draws whatever their own seed: what differs between them is the models'.
        """
        shape = self._embedding_shape()
        noise = Noise(0, SAMPLES)
        return [
            Sampler(
                "prior",
                "z ~ N(0, I)",
                "z drawn from the standard normal, the same draws for all models of one latent "
                "size",
                lambda count: noise.draw(count, *shape).to(self.device),
            )
        ]

    def _embedding_shape(self) -> tuple[int, ...]:
        """Shape of one image's embedding."""
        blank = torch.zeros(1, *self.model.model_config.input_dim, device=self.device)
        return tuple(self.model.encoder(blank)["embedding"].shape[1:])


class GaussianLatents(Latents):
    """VAE and its kin: the encoder gives a mean and a log-variance."""

    def encode(self, x: torch.Tensor) -> Encoded:
        output = self.model.encoder(x)
        mean = output["embedding"]
        return Encoded(mean, GaussianPosterior(mean, output["log_covariance"]))


class QuantisedLatents(Latents):
    """VQ-VAE: `z` is made of codebook entries; there is no posterior, KL or ELBO.

    Pythae reads an embedding of shape D as D positions of one scalar each, and one of shape
    D x g x g as g x g positions of D numbers; one codebook serves all positions.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.codebook = len(self._book)

    @property
    def _book(self) -> torch.Tensor:
        """The codebook, K x numbers per code."""
        entries = self.model.quantizer.embeddings
        return entries.weight if isinstance(entries, torch.nn.Embedding) else entries

    def encode(self, x: torch.Tensor) -> Encoded:
        embedding = self.model.encoder(x)["embedding"]
        shape = tuple(embedding.shape[1:])
        if len(shape) == 1:
            embedding = embedding.reshape(len(x), 1, 1, -1)
        # Channels last, as Pythae's quantizers want it.
        indices = self.model.quantizer(embedding.permute(0, 2, 3, 1))["quantized_indices"]
        codes = indices.flatten(1)
        return Encoded(self.look_up(codes, shape), codes=codes)

    def look_up(self, codes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Codes, B x positions, as B latents of `shape`."""
        entries = self._book[codes]
        if len(shape) == 1:
            return entries.flatten(1)
        return entries.transpose(1, 2).reshape(len(codes), *shape)

    def samplers(self, training: Iterable[torch.Tensor]) -> list[Sampler]:
        """Codes drawn uniformly, and from their marginal over the training split.

        Each position is drawn on its own. A grid's positions share one marginal, pooled over
        them: they are places of an image. A flat code's have one each: they are different latent
        dimensions, whose mixture would be nobody's distribution.
        """
        shape = self._embedding_shape()
        counts = self._count(training, flat=len(shape) == 1)
        uniform = torch.ones_like(counts)
        own = "that position's" if len(shape) == 1 else "all positions'"
        return [
            self._sampler(
                "uniform",
                "codes drawn uniformly",
                "the code of each position drawn uniformly from the codebook",
                uniform,
                shape,
            ),
            self._sampler(
                "marginal",
                "codes drawn from their empirical marginal",
                f"the code of each position drawn on its own by {own} frequencies over the "
                f"training split",
                counts,
                shape,
            ),
        ]

    def _count(self, training: Iterable[torch.Tensor], flat: bool) -> torch.Tensor:
        """How often each code is used: positions x K for flat codes, 1 x K for a grid."""
        counts = None
        for x in training:
            codes = self.encode(x).codes.cpu()
            rows = codes.T if flat else codes.reshape(1, -1)
            found = torch.stack([torch.bincount(row, minlength=self.codebook) for row in rows])
            counts = found if counts is None else counts + found
        return counts

    def _sampler(
        self, key: str, title: str, definition: str, counts: torch.Tensor, shape: tuple[int, ...]
    ) -> Sampler:
        noise = Noise(0, SAMPLES)
        cumulative = counts.cumsum(1).numpy()
        positions = shape[0] if len(shape) == 1 else shape[1] * shape[2]
        per_row = positions // len(cumulative)

        def draw(count: int) -> torch.Tensor:
            u = noise.uniform(count, positions)
            rows = u.reshape(count, len(cumulative), per_row)
            codes = [draw_codes(rows[:, i], row) for i, row in enumerate(cumulative)]
            codes = torch.from_numpy(np.stack(codes, 1).reshape(count, positions))
            return self.look_up(codes.to(self.device), shape)

        return Sampler(key, title, definition, draw)


def draw_codes(u: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """Codes by inverse transform: u in [0, 1), any shape, and the K cumulative counts."""
    total = float(cumulative[-1])
    # Rounding may take the largest u to the total itself, where no code is.
    return np.searchsorted(cumulative, np.minimum(u * total, np.nextafter(total, 0)), side="right")
