"""VAE and BetaVAE whose loss or whose draw of z `engine` changes.

A warm-up of the KL, and nats of it that are free of charge, act in training mode alone: in eval
mode the KL has its full weight, so that the best model is chosen among losses of one objective,
whatever weight its epoch was trained with. Another reduction of the reconstruction term, or another
standard deviation of z, is another objective, and acts in both.
"""

from typing import Any

import torch
from pythae.models import VAE, BetaVAE
from pythae.models.base.base_utils import ModelOutput

from evaluate.metrics.kl import kl_per_dimension
from study.schema_training import LinearWarmup, Warmup

# `engine.sampled_std`: how many times the encoder's log-variance is that of the z that is drawn.
_LOG_VARIANCES = {None: 1.0, "exp_log_var": 2.0}


def kl_weight(warmup: Warmup | None, epochs_done: float) -> float:
    """Weight of the KL, 0 to 1, when `epochs_done` epochs (with their fraction) are trained.

    Linear: t / epochs, at most 1. Cyclic (Fu et al. 2019, arXiv:1903.10145: the paper's
    T / M is a cycle's `epochs`, its R the `rise`): from 0 to 1 over the first `rise` of each cycle,
    then 1, and 1 after the last cycle.
    """
    if warmup is None:
        return 1.0
    place = epochs_done / warmup.epochs
    if isinstance(warmup, LinearWarmup):
        return min(1.0, place)
    return 1.0 if place >= warmup.cycles else min(1.0, place % 1 / warmup.rise)


def charged_kl(mu: torch.Tensor, log_var: torch.Tensor, free: float) -> torch.Tensor:
    """Σ_j max(free, mean over the batch of KL_j) in nats, of B x D means and log-variances.

    Free bits (Kingma et al. 2016, arXiv:1606.04934, C.8), each latent dimension a group of its
    own: the KL of a dimension below `free` nats has no gradient.
    """
    return kl_per_dimension(mu, log_var).mean(0).clamp(min=free).sum()


class ChangedVAE(VAE):
    """Pythae's VAE with what `engine` says of its loss and its draw of z.

    `warmup`, `free_bits`: the KL weighted by `anneal` and charged above some nats, in training. The
    weight is a function of the epochs done alone and is no part of the state: whoever goes on from
    a checkpoint says where it stands, and has the weight that an undisturbed run has.
    `reduction`: "mean" divides the reconstruction term by the pixels and channels (½ of the mean
    squared error, or the mean BCE).
    `sampled_std`: "exp_log_var" draws z with exp(log_var) for a standard deviation, while the KL
    stays that of log_var, a log-variance; `log_variances` says so to whoever needs the posterior
    that is drawn from.
    """

    beta = 1.0

    def __init__(
        self,
        *args: Any,
        warmup: Warmup | None = None,
        free_bits: float | None = None,
        reduction: str | None = None,
        sampled_std: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.warmup = warmup
        self.free_bits = free_bits
        self.reduction = reduction
        self.log_variances = _LOG_VARIANCES[sampled_std]
        self.anneal(0.0)

    def anneal(self, epochs_done: float) -> None:
        """Set the KL's weight for the steps that follow: `epochs_done` epochs are trained."""
        self.kl_weight = kl_weight(self.warmup, epochs_done)

    def forward(self, inputs: Any, **kwargs: Any) -> ModelOutput:
        """As Pythae's. `reg_loss` is the KL itself in nats, mean over the batch, whatever is
        charged of it; with a warm-up there is, in training, `kl_weight`, one number."""
        output = super().forward(inputs, **kwargs)
        if self.training and self.warmup is not None:
            # Made on the device, so that no step waits for a copy.
            output["kl_weight"] = torch.full(
                (), self.kl_weight, dtype=torch.float64, device=output["loss"].device
            )
        return output

    def loss_function(
        self,
        recon_x: torch.Tensor,
        x: torch.Tensor,
        mu: torch.Tensor,
        log_var: torch.Tensor,
        z: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, reconstruction and KL (neither weighted nor free), means over the batch."""
        loss, recon_loss, kl = super().loss_function(recon_x, x, mu, log_var, z)
        if self.reduction == "mean":
            recon_loss = recon_loss / x[0].numel()
            loss = recon_loss + self.beta * kl
        if self.training:
            charged = kl if self.free_bits is None else charged_kl(mu, log_var, self.free_bits)
            loss = recon_loss + self.kl_weight * self.beta * charged
        return loss, recon_loss, kl

    def _sample_gauss(
        self, mu: torch.Tensor, std: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pythae's draw; exp(log_var / 2) comes in, and exp(log_var) is its square."""
        return super()._sample_gauss(mu, std if self.log_variances == 1.0 else std.pow(2))


class ChangedBetaVAE(ChangedVAE, BetaVAE):
    """Pythae's BetaVAE in the same way: a warm-up's weight multiplies its β."""
