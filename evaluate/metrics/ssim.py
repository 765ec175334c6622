"""Structural similarity index (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""

import torch

SETTINGS = {
    "kernel_size": 11,
    "kernel_sigma": 1.5,
    "data_range": 1.0,
    "k1": 0.01,
    "k2": 0.03,
    "downsample": False,
}


def ssim(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Mean SSIM over pixels and channels: B x C x H x W in [0, 1], at least 11 px -> B.

    Gaussian window, no padding, so border pixels are left out. Equals scikit-image with
    gaussian_weights, sigma 1.5 and use_sample_covariance=False.
    """
    # Here: with it comes all of torchvision, seconds that a table does not need.
    import piq

    # piq refuses values outside [0, 1] by rounding alone.
    return piq.ssim(x.clamp(0, 1), x_hat.clamp(0, 1), reduction="none", **SETTINGS)
