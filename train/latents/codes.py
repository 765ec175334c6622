"""Latents of a VQ-VAE, and how its codes are drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from train.latents.base import Encoded, Latents, Training
from train.latents.draws import SAMPLES, Noise, Sampler, draw_codes
from train.latents.pixelcnn import pixelcnn


class QuantisedLatents(Latents):
    """VQ-VAE: `z` is made of codebook entries; there is no posterior, KL or ELBO.

    Pythae reads an embedding of shape D as D positions of one scalar each, and one of shape
    D x g x g as g x g positions of D numbers; one codebook serves all positions.
    """

    defaults = ("uniform", "marginal")

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.codebook = len(self._book)

    @property
    def _book(self) -> torch.Tensor:
        """The codebook, K x numbers per code: with `use_ema` a tensor, else an nn.Embedding."""
        entries = self.model.quantizer.embeddings
        return entries.weight if isinstance(entries, torch.nn.Embedding) else entries

    def encode(self, x: torch.Tensor) -> Encoded:
        embedding = self.model.encoder(x)["embedding"]
        shape = tuple(embedding.shape[1:])
        if len(shape) == 1:
            embedding = embedding.reshape(len(x), 1, 1, -1)
        # Channels last, as Pythae's quantizers want it.
        indices = self.model.quantizer(embedding.permute(0, 2, 3, 1))["quantized_indices"]
        codes = indices.flatten(1)
        return Encoded(self.look_up(codes, shape), codes=codes)

    def look_up(self, codes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Codes, B x positions, as B latents of `shape`."""
        entries = self._book[codes]
        if len(shape) == 1:
            return entries.flatten(1)
        return entries.transpose(1, 2).reshape(len(codes), *shape)

    def _own(self, training: Training, asked: Sequence[str]) -> dict[str, Sampler]:
        """Codes drawn uniformly, from their marginal over the training split, or from a PixelCNN.

        The first two draw each position on its own. A grid's positions share one marginal, pooled
        over them: they are places of an image. A flat code's have one each: they are different
        latent dimensions, whose mixture would be nobody's distribution.
        """
        shape = self._embedding_shape()
        flat = len(shape) == 1
        found = {}
        if "uniform" in asked:
            ones = torch.ones(shape[0] if flat else 1, self.codebook, dtype=torch.int64)
            found["uniform"] = self._sampler(
                "uniform",
                "codes drawn uniformly",
                "the code of each position drawn uniformly from the codebook",
                ones,
                shape,
            )
        if "marginal" not in asked and "pixelcnn" not in asked:
            return found
        counts, codes = self._pass(training, flat, keep="pixelcnn" in asked)
        if "marginal" in asked:
            own = "that position's" if flat else "all positions'"
            found["marginal"] = self._sampler(
                "marginal",
                "codes drawn from their empirical marginal",
                f"the code of each position drawn on its own by {own} frequencies over the "
                f"training split",
                counts,
                shape,
            )
        if "pixelcnn" in asked:
            found["pixelcnn"] = self._looked_up(pixelcnn(codes, shape[1:], self.codebook), shape)
        return found

    @torch.no_grad()
    def _pass(
        self, training: Training, flat: bool, keep: bool
    ) -> tuple[torch.Tensor, np.ndarray | None]:
        """How often each code is used, positions x K for flat codes, 1 x K for a grid; and, only
        to `keep`, the codes, N x positions, in as few bytes as hold them."""
        counts, kept = None, []
        small = np.int16 if self.codebook <= np.iinfo(np.int16).max else np.int32
        for x in training():
            codes = self.encode(x).codes.cpu()
            rows = codes.T if flat else codes.reshape(1, -1)
            found = torch.stack([torch.bincount(row, minlength=self.codebook) for row in rows])
            counts = found if counts is None else counts + found
            if keep:
                kept.append(codes.numpy().astype(small))
        return counts, np.concatenate(kept) if keep else None

    def _sampler(
        self, key: str, title: str, definition: str, counts: torch.Tensor, shape: tuple[int, ...]
    ) -> Sampler:
        noise = Noise(0, SAMPLES)
        cumulative = counts.cumsum(1).numpy()
        positions = shape[0] if len(shape) == 1 else shape[1] * shape[2]
        per_row = positions // len(cumulative)

        def draw(count: int) -> torch.Tensor:
            u = noise.uniform(count, positions)
            rows = u.reshape(count, len(cumulative), per_row)
            codes = [draw_codes(rows[:, i], row) for i, row in enumerate(cumulative)]
            return torch.from_numpy(np.stack(codes, 1).reshape(count, positions))

        return self._looked_up(Sampler(key, title, definition, draw), shape)

    def _looked_up(self, sampler: Sampler, shape: tuple[int, ...]) -> Sampler:
        """A sampler of codes as one of the model's latents, on its device."""

        def draw(count: int) -> torch.Tensor:
            return self.look_up(sampler.draw(count).to(self.device), shape)

        return Sampler(sampler.key, sampler.title, sampler.definition, draw)
