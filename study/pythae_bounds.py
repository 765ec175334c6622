"""Values of Pythae's keys that it takes and then fails on, or trains nothing with, much later."""

from typing import Any

from study.cli import MAX_SEED
from study.errors import StudyError

# By key, whatever the config.
AT_LEAST = {
    "latent_dim": 1,
    "num_epochs": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "steps_saving": 1,
    "seed": 0,
    "num_embeddings": 1,
    "train_dataloader_num_workers": 0,
    "eval_dataloader_num_workers": 0,
    "adversarial_loss_scale": 0,
    "C": 0,
    "warmup_epoch": 0,
    "linear_scheduling_steps": 0,
    "n_lf": 0,
    "number_samples": 1,
    "number_gradient_estimates": 1,
    "number_components": 1,
    "n_made_blocks": 1,
    "n_hidden_in_made": 1,
    "hidden_size": 1,
    "window_size": 1,
}
AT_MOST = {"seed": MAX_SEED, "adversarial_loss_scale": 1, "beta_zero": 1}
# Parts of a model that have an optimizer of their own in some trainer's config.
PARTS = ("encoder", "decoder", "autoencoder", "discriminator")
ABOVE_ZERO = (
    "learning_rate",
    *(f"{part}_learning_rate" for part in PARTS),
    "kernel_bandwidth",
    "temperature",
    "regularization",
    "eps_lf",
    "beta_zero",
    "curvature",
)
# By config and key: the smallest and the largest value, and why.
OF_CONFIG = {
    # On a 0-sphere there is no tangent to draw; above, Pythae's Bessel functions of order
    # latent_dim / 2 fall below what float32 holds, and its KL is wrong and then NaN.
    ("SVAEConfig", "latent_dim"): (2, 60, "its sphere, and its KL in float32, ask for that"),
    ("VAE_IAF_Config", "latent_dim"): (2, None, "an autoregression has nothing to go by in one"),
}
# Keys that a model's config inherits and the model never reads.
UNREAD = {
    ("MSSSIM_VAEConfig", "reconstruction_loss"): "its reconstruction loss is 1 - MS-SSIM",
    ("VAEGANConfig", "reconstruction_loss"): "its reconstruction loss is that of features",
}


def limits(config: type, key: str) -> tuple[float | None, float | None, str]:
    """The smallest and the largest value of a config's key (None: any), and why if it says so."""
    least, most, why = OF_CONFIG.get((config.__name__, key), (None, None, ""))
    return (
        AT_LEAST.get(key) if least is None else least,
        AT_MOST.get(key) if most is None else most,
        why,
    )


def check_bounds(config: type, key: str, value: Any, where: str) -> None:
    """StudyError, beginning with `where`, for a value of a Pythae config that ends badly."""
    if value is None:
        return
    least, most, why = limits(config, key)
    reason = f": {why}" if why else ""
    if least is not None and value < least:
        raise StudyError(f"{where}.{key}: at least {least} is wanted, not {value}{reason}")
    if most is not None and value > most:
        raise StudyError(f"{where}.{key}: at most {most} is wanted, not {value}{reason}")
    if key in ABOVE_ZERO and value <= 0:
        raise StudyError(f"{where}.{key}: more than 0 is wanted, not {value}")
    if key == "scales" and not value:
        raise StudyError(f"{where}.{key}: at least one scale is wanted, or null for 1.0 alone")
    if key.endswith("optimizer_cls") and value == "LBFGS":
        raise StudyError(f"{where}.{key}: Pythae's trainers give no closure, which LBFGS needs")
    if (config.__name__, key) in UNREAD and value != getattr(config(), key):
        name = config.__name__
        raise StudyError(
            f"{where}.{key}: a {name} does not read it, {UNREAD[name, key]}; leave it out"
        )
