"""What looks wrong in a history: a collapsed posterior, a dead codebook, a discriminator that won.

Losses may fall all the same, and none of these mends itself. Each is told only when two successive
epochs show it, so that a bad start gives no warning.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Nats: of less than this the posterior is the prior.
LEAST_KL = 0.1
# Of a codebook: share of its codes, and perplexity.
LEAST_USAGE, LEAST_PERPLEXITY = 0.05, 2.0
# Mean score on images, and 1 minus that on what is made up.
SURE = 0.95
# A discriminator's cross-entropy at that score, in nats, per kind of input.
SURE_LOSS = -math.log(SURE)

# Models whose `reg_loss` is a closed-form KL from the prior, and what weighs it in their loss.
# Others' is an estimate from draws (IWAE and its kin, the flows, VAMP, PoincareVAE), or another
# thing (BetaTCVAE).
_KL_IN_REG_LOSS = {
    "VAE": "engine.kl_warmup, engine.free_bits and model.reconstruction_loss",
    "BetaVAE": "a smaller model.beta, engine.kl_warmup and engine.free_bits",
    "DisentangledBetaVAE": "a larger model.C",
    "INFOVAE_MMD": "model.alpha nearer to 1",
    "MSSSIM_VAE": "a smaller model.beta",
    "SVAE": "model.latent_dim and model.reconstruction_loss",
}


@dataclass(frozen=True)
class _Epoch:
    """One line of a history: the eval split's terms, or training's where there is no eval split."""

    number: int
    split: str
    terms: dict[str, float]
    # Of the KL in training: below 1 in a warm-up.
    kl_weight: float

    @classmethod
    def of(cls, line: dict[str, Any]) -> "_Epoch":
        split = "eval" if line.get("eval") else "train"
        return cls(line["epoch"], split, line[split], line["train"].get("kl_weight", 1.0))


def concerns(model: Any, line: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, str]:
    """Kind of trouble -> one line that says what was seen and what to try; {} where all is well.

    `line` and `previous` (None: there is none) are successive lines of `history.jsonl`. Kinds:
    `collapse`, `codebook`, `discriminator`.
    """
    if previous is None:
        return {}
    epochs = [_Epoch.of(previous), _Epoch.of(line)]
    found = {kind: look(model, epochs) for kind, look in _LOOKS.items()}
    return {kind: said for kind, said in found.items() if said is not None}


def _collapse(model: Any, epochs: list[_Epoch]) -> str | None:
    """The posterior is the prior: latents that say nothing of their image.

    It may start as the prior's, too: a KL that rises from there is a model on its way.
    """
    divergences = [kl for kl in (_kl(model, epoch) for epoch in epochs) if kl is not None]
    if len(divergences) < 2 or max(divergences) >= LEAST_KL or divergences[1] > divergences[0]:
        return None
    keys = _KL_IN_REG_LOSS.get(
        model.model_name, "model.reconstruction_layer, whose features weigh against the KL"
    )
    if getattr(model, "reduction", None) is not None:
        keys = f"engine.reduction, without which the KL weighs less, {keys}"
    seen = _twice("the KL was", [f"{kl:.3g} nats" for kl in divergences], epochs)
    return f"posterior collapse: {seen}; the latent says nothing of the image; look at {keys}"


def _kl(model: Any, epoch: _Epoch) -> float | None:
    """KL in nats, mean over images; None where the model has none, or is still warmed up."""
    name, terms = model.model_name, epoch.terms
    if epoch.kl_weight < 1:
        return None
    if name == "DisentangledBetaVAE" and epoch.number <= model.model_config.warmup_epoch:
        return None  # drawn to a KL that rises from 0 in these epochs
    if name == "VAEGAN" and {"encoder_loss", "recon_loss"} <= terms.keys():
        return terms["encoder_loss"] - terms["recon_loss"]
    return terms.get("reg_loss") if name in _KL_IN_REG_LOSS else None


def _codebook(model: Any, epochs: list[_Epoch]) -> str | None:
    """Nearly all images are given the same few codes."""
    if model.model_name != "VQVAE":
        return None
    codes = model.model_config.num_embeddings
    if not all(_dead(epoch.terms, codes) for epoch in epochs):
        return None
    used = [
        f"{round(epoch.terms['usage'] * codes)} (perplexity {epoch.terms['perplexity']:.3g})"
        for epoch in epochs
    ]
    seen = _twice(f"the codes in use, of {codes}, were", used, epochs)
    return (
        f"dead codebook: {seen}; a code that is not used is not learned; look at "
        f"model.num_embeddings, model.use_ema, model.quantization_loss_factor, "
        f"model.commitment_loss_factor and trainer.learning_rate"
    )


def _dead(terms: dict[str, float], codes: int) -> bool:
    if not {"usage", "perplexity"} <= terms.keys():
        return False
    # Of two or three codes a perplexity below 2 is no fault.
    return terms["usage"] < LEAST_USAGE or terms["perplexity"] < min(LEAST_PERPLEXITY, codes / 2)


def _discriminator(model: Any, epochs: list[_Epoch]) -> str | None:
    """A discriminator that is always right has little left to teach the other parts."""
    name = model.model_name
    if name == "VAEGAN":
        return _scores(epochs)
    # On draws from the prior and on latents: the sum; on latents and permuted ones: half of it.
    sure = {"Adversarial_AE": 2 * SURE_LOSS, "FactorVAE": SURE_LOSS}.get(name)
    losses = [epoch.terms.get("discriminator_loss") for epoch in epochs]
    if sure is None or not all(loss is not None and loss < sure for loss in losses):
        return None
    weight = {"Adversarial_AE": "adversarial_loss_scale", "FactorVAE": "gamma"}[name]
    seen = _twice("its loss was", [f"{loss:.3g} nats" for loss in losses], epochs)
    return (
        f"the discriminator has won: {seen}; it tells latents apart without fail; look at "
        f"trainer.discriminator_learning_rate, trainer.autoencoder_learning_rate and model.{weight}"
    )


def _scores(epochs: list[_Epoch]) -> str | None:
    pairs = [(epoch.terms.get("d_real", 0.0), epoch.terms.get("d_fake", 1.0)) for epoch in epochs]
    if not all(real > SURE and fake < 1 - SURE for real, fake in pairs):
        return None
    scores = [f"{real:.3g} for images, {fake:.3g} for samples" for real, fake in pairs]
    seen = _twice("its mean score was", scores, epochs)
    return (
        f"the discriminator has won: {seen}; the decoder learns little from it; "
        f"look at trainer.discriminator_learning_rate, trainer.decoder_learning_rate, model.margin "
        f"and model.equilibrium, which say when it is updated, and model.adversarial_loss_scale"
    )


def _twice(what: str, values: list[str], epochs: list[_Epoch]) -> str:
    """What was seen in the one epoch and in the other."""
    each = [f"{value} in epoch {e.number}" for e, value in zip(epochs, values, strict=True)]
    return f"on the {epochs[-1].split} split {what} {' and '.join(each)}"


_LOOKS: dict[str, Callable[[Any, list[_Epoch]], str | None]] = {
    "collapse": _collapse,
    "codebook": _codebook,
    "discriminator": _discriminator,
}
