"""Sharpness: variance of the Laplacian (Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548)."""

import torch
from torch.nn import functional

LUMINANCE = (0.299, 0.587, 0.114)
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def sharpness(x: torch.Tensor) -> torch.Tensor:
    """Variance (population) over pixels of the Laplacian of the luminance: B x C x H x W -> B.

    3 x 3 kernel with four neighbours, no padding, so the border is left out; images of at least
    3 pixels a side. Noise counts as sharpness.
    """
    if x.shape[1] == 3:
        x = torch.einsum("bchw,c->bhw", x, x.new_tensor(LUMINANCE)).unsqueeze(1)
    kernel = x.new_tensor(LAPLACIAN)[None, None]
    return functional.conv2d(x, kernel).flatten(1).var(1, correction=0)
