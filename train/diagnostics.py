"""What a history shows beside the loss: how a codebook is used, how a VAEGAN's parts stand.

A diagnostic sees every batch and gives its terms once an epoch; sums stay on the device until
then.
"""

from typing import Any, Protocol

import torch
from torch import nn

from train.models.vaegan import PARTS


class Diagnostic(Protocol):
    """Terms of an epoch that are no losses."""

    def add(self, inputs: dict[str, torch.Tensor], output: dict[str, Any]) -> None:
        """Take in one batch: the model's inputs and what it gave."""

    def take(self) -> dict[str, float]:
        """The epoch's terms; starts anew."""

    def state(self) -> dict[str, Any]:
        """What it has counted, as tensors and numbers by name, for a checkpoint."""

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        """Go on from what `state` gave."""


class CodebookUse:
    """`perplexity` and `usage` of a VQ-VAE's codebook over all codes of an epoch.

    Perplexity is exp(-Σ p log p) of the codes' frequencies p, from 1 (one code for everything) to
    the number of codes; usage the share of the codes that occur at all.
    """

    def __init__(self, codes: int) -> None:
        self.codes = codes
        self.counts: torch.Tensor | None = None

    def add(self, inputs: dict[str, torch.Tensor], output: dict[str, Any]) -> None:
        indices = output["quantized_indices"].reshape(-1)
        if self.counts is None:
            self.counts = torch.zeros(self.codes, dtype=torch.int64, device=indices.device)
        # Not bincount, which waits for a GPU to know how many bins there are.
        self.counts.index_add_(0, indices, torch.ones_like(indices))

    def take(self) -> dict[str, float]:
        if self.counts is None:
            return {}
        p = self.counts.double() / self.counts.sum()
        self.counts = None
        # entr(0) = 0, as the limit has it.
        perplexity = torch.special.entr(p).sum().exp()
        return {"perplexity": float(perplexity), "usage": float((p > 0).double().mean())}

    def state(self) -> dict[str, Any]:
        return {} if self.counts is None else {"counts": self.counts}

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        self.counts = state["counts"].to(device) if state else None


class AdversarialBalance:
    """`d_real`, `d_fake`, `pixel_mse` and, in training, `updates_<part>` of a VAEGAN.

    The discriminator's mean score on images and on decoded z ~ N(0, I); the mean squared error of
    sampled reconstructions, which the loss itself does not hold; the share of the epoch's batches
    that updated each part. `scores` is filled by a hook on the discriminator, which a batch asks
    four times: features of x and of its reconstruction, then the scores of x and of a sample.
    """

    def __init__(self, scores: list[torch.Tensor], training: bool) -> None:
        self.scores = scores
        self.training = training
        self.sums: dict[str, Any] = {}
        self.images = self.batches = 0

    def add(self, inputs: dict[str, torch.Tensor], output: dict[str, Any]) -> None:
        x = inputs["data"]
        real, fake = self.scores[-2:]
        self.scores.clear()
        squared = (output["recon_x"].detach() - x).pow(2).flatten(1).mean(1)
        self.images += len(x)
        self.batches += 1
        terms = {"d_real": real.sum(), "d_fake": fake.sum(), "pixel_mse": squared.sum()}
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + term.double()
        if self.training:
            for part in PARTS:
                name = f"updates_{part}"
                self.sums[name] = self.sums.get(name, 0) + bool(output[f"update_{part}"])

    def take(self) -> dict[str, float]:
        per = {name: self.batches if "updates" in name else self.images for name in self.sums}
        terms = {name: float(total) / per[name] for name, total in self.sums.items()}
        self.sums, self.images, self.batches = {}, 0, 0
        return terms

    def state(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "images": self.images, "batches": self.batches}

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        self.images, self.batches = state["images"], state["batches"]
        self.sums = {
            name: total.to(device) if torch.is_tensor(total) else total
            for name, total in state["sums"].items()
        }


def _hear_scores(discriminator: nn.Module) -> tuple[list[torch.Tensor], Any]:
    scores: list[torch.Tensor] = []

    def hear(module: Any, arguments: tuple, output: dict[str, Any]) -> None:
        if "embedding" in output:
            scores.append(output["embedding"].detach().flatten())

    return scores, discriminator.register_forward_hook(hear)


def diagnostics(model: Any) -> tuple[dict[bool, list[Diagnostic]], list[Any]]:
    """Diagnostics of a Pythae model by `model.training`, and the hooks to remove afterwards."""
    if model.model_name == "VQVAE":
        codes = model.model_config.num_embeddings
        return {training: [CodebookUse(codes)] for training in (True, False)}, []
    if model.model_name == "VAEGAN":
        scores, hook = _hear_scores(model.discriminator)
        made = {training: [AdversarialBalance(scores, training)] for training in (True, False)}
        return made, [hook]
    return {True: [], False: []}, []
