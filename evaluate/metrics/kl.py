"""Kullback-Leibler divergence of a diagonal Gaussian from the standard normal."""

import torch


def kl(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) in nats: B x D twice -> B, summed over D.

    Closed form: Kingma & Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return 0.5 * (mean.pow(2) + log_var.exp() - 1 - log_var).sum(1)
