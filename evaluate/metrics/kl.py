"""Kullback-Leibler divergence of a diagonal Gaussian from the standard normal.

Closed form: Kingma & Welling 2014 (arXiv:1312.6114), appendix B.
"""

import torch


def kl_per_dimension(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each dimension in nats: B x D twice -> B x D."""
    return 0.5 * (mean.pow(2) + log_var.exp() - 1 - log_var)


def kl(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) in nats: B x D twice -> B, summed over D."""
    # The half is taken of the sum: what a run gave before is what it gives again, to the bit.
    return 0.5 * (mean.pow(2) + log_var.exp() - 1 - log_var).sum(1)
