"""Mean squared error."""

import torch


def mse(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """(x - x̂)² averaged over pixels and channels: B x C x H x W twice -> B."""
    return (x - x_hat).pow(2).flatten(1).mean(1)
