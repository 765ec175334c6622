"""Evidence lower bound, from its two named likelihoods and the KL divergence.

ELBO = E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I)), in nats per image, β = 1 whatever the
model was trained with (Kingma & Welling 2014, arXiv:1312.6114, eq. 3). Higher is better.
"""

import math

import torch

from evaluate.metrics.bce import bce
from evaluate.metrics.mse import mse


def bernoulli_log_likelihood(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """log p(x|z) with pixel probabilities x̂: minus the BCE summed over an image. Returns B."""
    return -bce(x, x_hat) * x[0].numel()


def gaussian_log_likelihood(x: torch.Tensor, x_hat: torch.Tensor, sigma: float) -> torch.Tensor:
    """log N(x; x̂, sigma² I), normalising constant included. Returns B."""
    dimensions = x[0].numel()
    squared_error = mse(x, x_hat) * dimensions
    constant = 0.5 * dimensions * math.log(2 * math.pi * sigma**2)
    return -squared_error / (2 * sigma**2) - constant


def elbo(log_likelihood: torch.Tensor, kl: torch.Tensor) -> torch.Tensor:
    """S x B log-likelihoods (one row for each draw of z) and B divergences -> B."""
    return log_likelihood.mean(0) - kl
