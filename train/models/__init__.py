"""Pythae models of a run: Pythae's own, or ours where `engine` asks for what Pythae lacks."""

import warnings
from typing import Any

import torch
from pythae import models as pythae_models
from pythae.models import RHVAE
from pythae.models.rhvae.rhvae_utils import create_inverse_metric, create_metric

from study.errors import StudyError
from study.pythae_json import MODELS
from study.runs import Run
from train.models.changed import ChangedBetaVAE, ChangedVAE
from train.models.noisy import NoisyAE, NoisyWAE_MMD
from train.models.vaegan import VAEGANCorrected
from train.networks import Parts, build_networks


def build_model(run: Run) -> Any:
    """The run's model, weights drawn from torch's global generator (seed it first).

    `run` must know the data's shape (`Run.with_shape`). What `engine` adds has no weights, so the
    saved model opens as Pythae's own. It reconstructs as this one does from the posterior's mean;
    with `engine.sampled_std` it draws z from another posterior, and with `engine.reduction` it has
    another loss (DEVIATIONS.md).
    """
    parts = build_networks(run.config.networks, run.model, str(run.file))
    name = MODELS[run.model.name]
    if name == "MSSSIM_VAE":
        _check_window(run)
    engine = run.config.engine
    extra: dict[str, Any] = {}
    cls = getattr(pythae_models, name)
    if name == "VAEGAN":
        extra["discriminator"] = _discriminator(run, parts)
        if engine.vaegan_gradients is not None:
            cls = VAEGANCorrected
    if engine.latent_noise is not None or engine.mmd_sigmas is not None:
        cls = {"AE": NoisyAE, "WAE_MMD": NoisyWAE_MMD}[name]
        extra["latent_noise"] = engine.latent_noise or 0.0
        if engine.mmd_sigmas is not None:
            extra["mmd_sigmas"] = engine.mmd_sigmas
    changes = {
        "warmup": engine.kl_warmup,
        "free_bits": engine.free_bits,
        "reduction": engine.reduction,
        "sampled_std": engine.sampled_std,
    }
    if any(change is not None for change in changes.values()):
        cls = {"VAE": ChangedVAE, "BetaVAE": ChangedBetaVAE}[name]
        extra |= changes
    with warnings.catch_warnings():
        # On what an encoder of the user's must give; ours give it (`spread_of`).
        warnings.filterwarnings("ignore", module="pythae")
        return cls(run.model, encoder=parts.encoder, decoder=parts.decoder, **extra)


def load_weights(model: Any, saved: dict[str, Any]) -> None:
    """Fill a model that `build_model` made with what Pythae's `save` wrote into `model.pt`."""
    model.load_state_dict(saved["model_state_dict"])
    if isinstance(model, RHVAE):
        # Its metric is made of the training images' latents, which are no parameters.
        device = next(model.parameters()).device
        model.M_tens, model.centroids_tens = (saved[k].to(device) for k in ("M", "centroids"))
        model.G, model.G_inv = create_metric(model), create_inverse_metric(model)


def saved_form(model: Any) -> dict[str, Any]:
    """A model's weights as `load_weights` takes them; the tensors are the model's own."""
    form = {"model_state_dict": model.state_dict()}
    if isinstance(model, RHVAE):
        form |= {"M": model.M_tens, "centroids": model.centroids_tens}
    return form


def epoch_form(model: Any) -> dict[str, Any]:
    """What a model has gathered since its epoch began, which is no part of its weights."""
    if isinstance(model, RHVAE):
        return {"M": list(model.M), "centroids": list(model.centroids)}
    return {}


def load_epoch_form(model: Any, form: dict[str, Any], device: torch.device | str) -> None:
    """Give a model back what `epoch_form` told."""
    for name, tensors in form.items():
        gathered = getattr(model, name)
        gathered.clear()
        gathered.extend(tensor.to(device) for tensor in tensors)


def _check_window(run: Run) -> None:
    window, side = run.model.window_size, min(run.model.input_dim[1:])
    if window > side:
        raise StudyError(
            f"{run.file}: model.window_size: {window} is wider than the images, of {side} pixels"
        )


def _discriminator(run: Run, parts: Parts) -> Any:
    networks = run.config.networks.name
    if parts.discriminator is None:
        raise StudyError(f"{run.file}: networks.name: {networks} has no discriminator for a VAEGAN")
    made = parts.discriminator()
    layer = run.model.reconstruction_layer
    if layer >= made.depth:
        raise StudyError(
            f"{run.file}: model.reconstruction_layer: {layer}, but {networks}'s discriminator has "
            f"{made.depth} layers, the last of which is its score; 1 to {made.depth - 1} are meant"
        )
    return made
