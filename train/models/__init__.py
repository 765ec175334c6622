"""Pythae models of a run: Pythae's own, or ours where `engine` asks for what Pythae lacks."""

from typing import Any

from pythae import models as pythae_models

from study.pythae_json import MODELS
from study.runs import Run
from train.models.noisy import NoisyAE, NoisyWAE_MMD
from train.networks import build_networks


def build_model(run: Run) -> Any:
    """The run's model, weights drawn from torch's global generator (seed it first).

    `run` must know the data's shape (`Run.with_shape`). What `engine` adds acts in training only,
    so the saved model is Pythae's own and opens as such.
    """
    encoder, decoder = build_networks(run.config.networks, run.model, str(run.file))
    name = MODELS[run.model.name]
    engine = run.config.engine
    extra: dict[str, Any] = {}
    cls = getattr(pythae_models, name)
    if engine.latent_noise is not None or engine.mmd_sigmas is not None:
        cls = {"AE": NoisyAE, "WAE_MMD": NoisyWAE_MMD}[name]
        extra["latent_noise"] = engine.latent_noise or 0.0
        if engine.mmd_sigmas is not None:
            extra["mmd_sigmas"] = engine.mmd_sigmas
    return cls(run.model, encoder=encoder, decoder=decoder, **extra)
