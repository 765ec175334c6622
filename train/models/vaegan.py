"""VAEGAN whose parts follow the gradients of the losses that are written for them."""

from typing import Any

import torch
from pythae.models import VAEGAN
from pythae.models.base.base_utils import ModelOutput

PARTS = ("encoder", "decoder", "discriminator")


class VAEGANCorrected(VAEGAN):
    """Pythae's VAEGAN (Larsen et al. 2016, arXiv:1512.09300), each gradient its own.

    With R the distance of discriminator features and D the discriminator's loss, both means over
    a batch, and s `adversarial_loss_scale`: the encoder gets dKL + dR, the decoder
    (1 - s) dR - s dD, the discriminator dD. In Pythae's trainer three backward passes add up in
    the parameters they share, so that its decoder gets (1 - s)(dR + dD) and its encoder
    dKL + (2 - s) dR whenever all three are updated.
    """

    def updated(self, output: ModelOutput) -> list[str]:
        """The parts that this batch updates, by Pythae's margin and equilibrium."""
        return [part for part in PARTS if output[f"update_{part}"]]

    def set_gradients(self, output: ModelOutput) -> None:
        """Fill `.grad` of each part that this batch updates from that part's loss alone."""
        parts = self.updated(output)
        for part in parts:
            parameters = [p for p in getattr(self, part).parameters() if p.requires_grad]
            gradients: Any = torch.autograd.grad(
                output[f"{part}_loss"], parameters, retain_graph=part != parts[-1]
            )
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
