"""What the keys of `history.jsonl` are called in figures, and which of them share a panel."""

from dataclasses import dataclass

from evaluate.metrics.reconstruction import RECONSTRUCTION

LABELS = {
    "loss": "loss",
    "recon_loss": "reconstruction",
    "reg_loss": "KL",
    "kld": "KL",
    "mmd_loss": "MMD²",
    "vq_loss": "quantisation",
    "encoder_loss": "encoder",
    "decoder_loss": "decoder",
    "discriminator_loss": "discriminator",
    "d_real": "D(real)",
    "d_fake": "D(fake)",
    "updates_encoder": "encoder updated",
    "updates_decoder": "decoder updated",
    "updates_discriminator": "discriminator updated",
    "usage": "codebook used",
    "perplexity": "codebook perplexity",
    "pixel_mse": "pixel MSE",
    "kl_weight": "weight of the KL",
}
# Panels of what is no loss: label of the axis, keys.
_NO_LOSSES = {
    "share (0 to 1)": (
        "d_real",
        "d_fake",
        "updates_encoder",
        "updates_decoder",
        "updates_discriminator",
        "usage",
        "kl_weight",
    ),
    "perplexity": ("perplexity",),
    "pixel MSE": ("pixel_mse",),
    # By `engine.select`.
    **{metric: (metric,) for metric in RECONSTRUCTION},
    "LPIPS": ("LPIPS",),
}


@dataclass(frozen=True)
class Panel:
    """One set of axes: what it is called, and the keys drawn in it."""

    name: str
    terms: list[str]

    @property
    def share(self) -> bool:
        """Whether everything in it lies between 0 and 1."""
        return self.name.startswith("share")


def label(term: str, terms: list[str]) -> str:
    """A term in the field's words; one that is not known keeps its name."""
    if term == "recon_loss" and "discriminator_loss" in terms:
        return "reconstructed features"
    return LABELS.get(term, term)


def terms_of(histories: list[list[dict]]) -> list[str]:
    """Every key of a row's histories, as they come."""
    lines = [line for history in histories for line in history]
    found = [term for line in lines for split in ("train", "eval") for term in line[split]]
    return list(dict.fromkeys(found))


def panels(terms: list[str]) -> list[Panel]:
    """Loss, its terms, then what is no loss; a panel without a key is not made."""
    apart = {key for keys in _NO_LOSSES.values() for key in keys}
    made = [
        Panel("loss", [term for term in terms if term == "loss"]),
        Panel("terms of the loss", [t for t in terms if t != "loss" and t not in apart]),
    ]
    made += [Panel(name, [t for t in keys if t in terms]) for name, keys in _NO_LOSSES.items()]
    return [panel for panel in made if panel.terms]
