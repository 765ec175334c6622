"""Peak signal-to-noise ratio: Huynh-Thu & Ghanbari 2008 (doi:10.1049/el:20080522)."""

import torch

from evaluate.metrics.mse import mse

# What an image's MSE is taken for where it is less, so that identical images stay finite: 100 dB.
FLOOR = 1e-10


def psnr(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """-10 log10 of an image's MSE in dB, data range 1: B x C x H x W twice -> B.

    The MSE is taken for `FLOOR` where it is less.
    """
    return -10 * mse(x, x_hat).clamp(min=FLOOR).log10()
