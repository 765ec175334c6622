"""What is asked of a model's latents, and how each kind of model answers.

A model's kind is in `train.latents`. A further kind is a subclass of `Latents` and a line there:
metrics follow from what its `Encoded` holds (a `posterior`: KL, ELBO and the columns as published;
`codes`: the codebook's).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from evaluate.metrics.kl import kl
from study.samplers import check_samplers
from train.latents.draws import AGGREGATE, COMPONENTS, POSTERIOR, SAMPLES, Noise, Sampler
from train.latents.fitted import FITTED

__all__ = [
    "COMPONENTS",
    "POSTERIOR",
    "SAMPLES",
    "Encoded",
    "GaussianLatents",
    "GaussianPosterior",
    "Latents",
    "Noise",
    "Posterior",
    "Sampler",
    "Training",
]

# Each call gives a fresh pass over the training split in batches, on the model's device.
Training = Callable[[], Iterable[torch.Tensor]]


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


class Latents:
    """An autoencoder: the latent is the encoder's `embedding`, samples are drawn from N(0, I)."""

    # Size of the codebook; None where there is none.
    codebook: int | None = None
    # Whether latents lie on a sphere or in a ball, where N(0, I) and plain distances mean nothing.
    curved: bool = False
    # Samplers where none are asked for: the sources'.
    defaults: tuple[str, ...] = ("prior",)

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

    def samplers(self, training: Training, asked: Sequence[str] | None = None) -> list[Sampler]:
        """The ways to draw latents, in the order asked; None: the model's own.

        Their seed is fixed, so that all runs of one latent size are measured, and shown, on the
        same draws whatever their own seed: what differs between them is the models'. What is fitted
        is fitted to one pass over the training split, which is encoded only if it is needed.
        StudyError where the model has no such sampler, RunFailed where a fit fails.
        """
        check_samplers(self.model.model_config, asked, "the run")
        asked = self.defaults if asked is None else asked
        found = self._own(training, asked)
        fitted = [key for key in asked if key in FITTED]
        if fitted:
            z, shape = self._aggregate(training)
            for key in fitted:
                found[key] = self._shaped(FITTED[key](z), shape)
        return [found[key] for key in asked]

    def aggregate(self, x: torch.Tensor, noise: Noise) -> torch.Tensor:
        """One latent of each image as the aggregate posterior has them: a draw of q(z|x), the
        embedding where there is no posterior."""
        encoded = self.encode(x)
        if encoded.posterior is None:
            return encoded.z
        return encoded.posterior.sample(noise.draw(*encoded.z.shape).to(x.device))

    def _own(self, training: Training, asked: Sequence[str]) -> dict[str, Sampler]:
        """Those of `asked` that are not fitted to latents; others beside them do no harm."""
        return {"prior": self._prior()}

    def _prior(self) -> Sampler:
        shape = self._embedding_shape()
        noise = Noise(0, SAMPLES)
        return Sampler(
            "prior",
            "z ~ N(0, I)",
            "z drawn from the standard normal, the same draws for all models of one latent size",
            lambda count: noise.draw(count, *shape).to(self.device),
        )

    @torch.no_grad()
    def _aggregate(self, training: Training) -> tuple[np.ndarray, tuple[int, ...]]:
        """float32 N x D of the training split, and the shape that the model gives one of them."""
        noise = Noise(0, AGGREGATE)
        parts = [self.aggregate(x, noise).float().cpu().numpy() for x in training()]
        z = np.concatenate(parts)
        return z.reshape(len(z), -1), z.shape[1:]

    def _shaped(self, sampler: Sampler, shape: tuple[int, ...]) -> Sampler:
        """A sampler of flat latents as one of the model's, on its device."""

        def draw(count: int) -> torch.Tensor:
            return sampler.draw(count).reshape(count, *shape).to(self.device)

        return dataclasses.replace(sampler, draw=draw)

    def _embedding_shape(self) -> tuple[int, ...]:
        """Shape of one image's embedding."""
        blank = torch.zeros(1, *self.model.model_config.input_dim, device=self.device)
        return tuple(self.model.encoder(blank)["embedding"].shape[1:])


class GaussianLatents(Latents):
    """VAE and its kin: the encoder gives a mean and a log-variance."""

    def encode(self, x: torch.Tensor) -> Encoded:
        output = self.model.encoder(x)
        mean = output["embedding"]
        # `engine.sampled_std`: the posterior is the one that z is drawn from.
        log_var = getattr(self.model, "log_variances", 1.0) * output["log_covariance"]
        return Encoded(mean, GaussianPosterior(mean, log_var))
