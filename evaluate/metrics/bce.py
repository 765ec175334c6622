"""Binary cross-entropy."""

import torch
from torch.nn import functional


def bce(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """-x log x̂ - (1 - x) log(1 - x̂) in nats, averaged over pixels and channels.

    x (the target) and x̂ are B x C x H x W in [0, 1]; returns B. Logarithms stop at -100, as in
    torch, so that x̂ = 0 or 1 stays finite. For grey targets the minimum is the target's own
    entropy, not 0.
    """
    return functional.binary_cross_entropy(x_hat, x, reduction="none").flatten(1).mean(1)
