"""AE and WAE_MMD with Gaussian noise on the latent, as the course report trained its AE.

Noise of a fixed scale makes the latent a Gaussian channel of finite capacity. The MMD compares
the noise-free latent with N(0, I): the report's information rate of 12.9 bits is that of ten
dimensions of unit variance before the noise.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pythae.models import AE, WAE_MMD
from pythae.models.base.base_utils import ModelOutput


def add_noise(z: torch.Tensor, sigma: float, training: bool) -> torch.Tensor:
    """z + sigma * N(0, I) in training; z itself otherwise, or without noise."""
    return z + sigma * torch.randn_like(z) if training and sigma > 0 else z


def rbf_mmd(z: torch.Tensor, prior: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Biased MMD² of two samples of shape N x D under a sum of RBF kernels.

    k(a, b) = Σ_σ exp(-|a - b|² / (2 σ²)); the V-statistic of Gretton et al. 2012, eq. 5 (JMLR
    13:723): diagonal terms stay in, so it is never negative and biased upwards by O(1/N).
    """

    def mean_kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squared = (a.unsqueeze(1) - b.unsqueeze(0)).pow(2).sum(-1)
        return sum(torch.exp(-squared / (2 * sigma**2)) for sigma in sigmas).mean()

    return mean_kernel(z, z) + mean_kernel(prior, prior) - 2 * mean_kernel(z, prior)


class NoisyAE(AE):
    """Pythae's AE, its latent disturbed in training."""

    def __init__(self, *args: Any, latent_noise: float, **kwargs: Any) -> None:
        AE.__init__(self, *args, **kwargs)
        self.latent_noise = latent_noise

    def forward(self, inputs: Any, **kwargs: Any) -> ModelOutput:
        """As Pythae's: `loss` is the squared error summed over an image, mean over the batch."""
        x = inputs["data"]
        z = self.encoder(x).embedding
        recon_x = self.decoder(add_noise(z, self.latent_noise, self.training))["reconstruction"]
        return ModelOutput(loss=self.loss_function(recon_x, x), recon_x=recon_x, z=z)


class NoisyWAE_MMD(WAE_MMD):
    """Pythae's WAE_MMD, its latent disturbed in training, and RBF kernels of given scales.

    Without `mmd_sigmas` the MMD is Pythae's (its kernels, the unbiased estimator).
    """

    def __init__(
        self,
        *args: Any,
        latent_noise: float,
        mmd_sigmas: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        WAE_MMD.__init__(self, *args, **kwargs)
        self.latent_noise = latent_noise
        self.mmd_sigmas = mmd_sigmas

    def forward(self, inputs: Any, **kwargs: Any) -> ModelOutput:
        """As Pythae's: squared error summed over an image + reg_weight x MMD²."""
        x = inputs["data"]
        z = self.encoder(x).embedding
        recon_x = self.decoder(add_noise(z, self.latent_noise, self.training))["reconstruction"]
        loss, recon_loss, mmd_loss = self.loss_function(recon_x, x, z, torch.randn_like(z))
        return ModelOutput(
            loss=loss, recon_loss=recon_loss, mmd_loss=mmd_loss, recon_x=recon_x, z=z
        )

    def loss_function(
        self, recon_x: torch.Tensor, x: torch.Tensor, z: torch.Tensor, z_prior: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, reconstruction and MMD² (without its weight), means over the batch."""
        if self.mmd_sigmas is None:
            return WAE_MMD.loss_function(self, recon_x, x, z, z_prior)
        recon_loss = self.reconstruction_loss_scale * AE.loss_function(self, recon_x, x)
        mmd_loss = rbf_mmd(z, z_prior, self.mmd_sigmas)
        return recon_loss + self.model_config.reg_weight * mmd_loss, recon_loss, mmd_loss
