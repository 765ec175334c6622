"""Information rate of latents with fixed noise: parallel Gaussian channels.

Cover & Thomas 2006 (doi:10.1002/047174882X), section 9.4; the course report's equation is the same.
"""

import math

import torch


def information_rate(variances: torch.Tensor, noise_sd: float) -> float:
    """½ Σ log2(1 + var_i / σ²) in bits per image: D variances of the embedding, σ of the noise."""
    return _rate(variances, noise_sd**2)


def information_rate_as_published(variances: torch.Tensor, noise_sd: float) -> float:
    """½ Σ log2(1 + var_i / σ) in bits: σ in place of σ², as the course report's code had it."""
    return _rate(variances, noise_sd)


def _rate(variances: torch.Tensor, noise: float) -> float:
    return 0.5 * float((variances.double() / noise).log1p().sum()) / math.log(2)
