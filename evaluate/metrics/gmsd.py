"""Gradient magnitude similarity deviation (Xue et al. 2014, doi:10.1109/TIP.2013.2293423)."""

import torch

SETTINGS = {"data_range": 1.0, "t": 170 / 255**2}


def gmsd(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Standard deviation (population) of the gradient similarity map: B x C x H x W -> B.

    On luminance, after averaging 2 x 2 pixels and taking every second, with Prewitt gradients.
    """
    # Here: with it comes all of torchvision, seconds that a table does not need.
    import piq

    return piq.gmsd(x.clamp(0, 1), x_hat.clamp(0, 1), reduction="none", **SETTINGS)
