"""Bits per dimension of 8-bit images (as in Papamakarios et al. 2017, arXiv:1705.07057)."""

import math

import torch


def bits_per_dimension(elbo: torch.Tensor, dimensions: int) -> torch.Tensor:
    """-ELBO / (D ln 2) + 8: B bounds in nats per image of D pixels and channels -> B.

    The bound is of a density over images in [0, 1]; 8 bits are what their 256 grey levels have, so
    that the uniform density gives 8. Lower is better.
    """
    return -elbo / (dimensions * math.log(2)) + 8
