"""Negative log-likelihood by importance sampling (Burda et al. 2016, arXiv:1509.00519, eq. 8).

log p(x) is estimated by log 1/S Σ p(x|z_s) p(z_s) / q(z_s|x) with z_s from q(z|x). The expectation
of the estimate lies below log p(x) and rises with S. A draw's log weight is
log p(x|z) + `log_standard_normal(z)` - `log_normal(z, mean, log_var)` of the posterior.
"""

import math

import torch

_LOG_2_PI = math.log(2 * math.pi)


def log_normal(z: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """log N(z; mean, exp(log_var)) in nats, float64: ... x D, summed over the last dimension.

    The three are broadcast against each other: S x B x D draws with B x D means give S x B.
    """
    z, mean, log_var = z.double(), mean.double(), log_var.double()
    squared = (z - mean).pow(2) * (-log_var).exp()
    return -0.5 * (squared + log_var + _LOG_2_PI).sum(-1)


def log_standard_normal(z: torch.Tensor) -> torch.Tensor:
    """log N(z; 0, I) in nats, float64: ... x D, summed over the last dimension."""
    return -0.5 * (z.double().pow(2) + _LOG_2_PI).sum(-1)


class LogMeanExp:
    """log of the mean of exp of B rows of log weights, whose S samples come in chunks.

    Memory does not grow with S. Weights are summed as logarithms in float64, so that none
    overflows, and none vanishes beside others of its own size.
    """

    def __init__(self) -> None:
        self.count = 0
        self._log_sum: torch.Tensor | None = None

    def add(self, log_weights: torch.Tensor) -> None:
        """Take in a chunk, S x B."""
        chunk = torch.logsumexp(log_weights.double(), 0)
        self.count += len(log_weights)
        self._log_sum = chunk if self._log_sum is None else torch.logaddexp(self._log_sum, chunk)

    @property
    def value(self) -> torch.Tensor:
        """B values, the estimates of log p(x); their negatives are the NLL. ValueError if empty."""
        if self._log_sum is None or not self.count:
            raise ValueError("no log weights were added")
        return self._log_sum - math.log(self.count)
