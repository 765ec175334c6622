"""What each of Pythae's models encodes, decodes and is sampled from; `latents_of` knows which."""

from typing import Any

from train.latents.base import GaussianLatents, Latents
from train.latents.codes import QuantisedLatents
from train.latents.spaces import (
    AdversarialLatents,
    BallLatents,
    FlowLatents,
    SphereLatents,
    VampLatents,
)

# By the names of Pythae's config classes; a class that is not here is of the nearest above it.
KINDS: dict[str, type[Latents]] = {
    "AEConfig": Latents,
    "VAEConfig": GaussianLatents,
    "VQVAEConfig": QuantisedLatents,
    "Adversarial_AE_Config": AdversarialLatents,
    # The mean before the Hamiltonian steps, which draw a momentum: a reconstruction must not
    # depend on a draw. What comes after the steps is no Gaussian.
    "HVAEConfig": Latents,
    "RHVAEConfig": Latents,
    "SVAEConfig": SphereLatents,
    "PoincareVAEConfig": BallLatents,
    "VAE_IAF_Config": FlowLatents,
    "VAE_LinNF_Config": FlowLatents,
    "VAMPConfig": VampLatents,
}


def latents_of(model: Any) -> Latents:
    """The latents of a trained model, by the nearest class of its config in `KINDS`."""
    for cls in type(model.model_config).__mro__:
        if cls.__name__ in KINDS:
            return KINDS[cls.__name__](model)
    raise TypeError(f"{type(model.model_config).__name__}: no kind of latents is known for it")
