"""Numbers of a split that follow from others, or from how it was encoded."""

import math

import numpy as np
import torch

from evaluate.metric import as_published
from evaluate.metrics.active_units import active_units
from evaluate.metrics.codebook import perplexity, usage
from evaluate.metrics.information import information_rate, information_rate_as_published


def encoded_numbers(
    counts: np.ndarray | None,
    variances: torch.Tensor | None,
    posterior: bool,
    latent_noise: float | None,
) -> dict[str, float]:
    """Those that are defined, by key.

    `counts`: how often each code was used (K); `variances`: of each latent dimension over the
    split (D), of the posterior's mean where there is a `posterior`; `latent_noise`: the standard
    deviation of the noise that the decoder was trained with.
    """
    numbers: dict[str, float] = {}
    if counts is not None:
        codes = torch.from_numpy(counts)
        numbers |= {"perplexity": perplexity(codes), "usage": usage(codes)}
    if variances is None:
        return numbers
    if posterior:
        numbers["active units"] = float(active_units(variances))
    if latent_noise is not None:
        key = "information rate"
        numbers[key] = information_rate(variances, latent_noise)
        numbers[as_published(key)] = information_rate_as_published(variances, latent_noise)
    return numbers


# The course report's sum goes over batches of so many images.
_BATCH = 100


def reconstruction_bits(bce: torch.Tensor, dimensions: int) -> dict[str, torch.Tensor]:
    """Of B cross-entropies in nats per pixel and channel those of an image in bits, by key."""
    bits = bce * (dimensions / math.log(2))
    key = "reconstruction bits"
    return {key: bits, as_published(key): _BATCH * bits}
