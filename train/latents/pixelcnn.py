"""A PixelCNN of the codes of a VQ-VAE (van den Oord et al. 2016, arXiv:1601.06759).

Pythae's own feeds the network code numbers as if they were grey levels, and its sampler takes the
codebook for an nn.Embedding, which it is not with `use_ema`. Here its masked convolutions stand on
learned vectors of the codes, and codes are looked up by `QuantisedLatents`.
"""

import numpy as np
import torch
from torch import nn

from train.latents.draws import SAMPLES, Blocks, Noise, Sampler, draw_codes
from train.latents.learning import Recipe, fit, seeded

_CODE, _WIDTH, _LAYERS = 32, 64, 2
# The largest kernel of the first layer, in positions each way; those above it see no further.
_REACH = 8
_RECIPE = Recipe(steps=1200, batch=128, rate=2e-3, checks=10, patience=4)


class CodePrior(nn.Module):
    """log p of each code given those before it, row by row.

    The first layer reaches over the whole of a small grid, so that no code before is out of sight.
    Each position begins at its own frequencies, and a code that never stood there never will. The
    codes of a flat latent have vectors of their own in each dimension: a convolution shares its
    weights over positions, and there they are nothing alike.
    """

    def __init__(self, counts: torch.Tensor, sides: tuple[int, int], flat: bool) -> None:
        super().__init__()
        from pythae.models.normalizing_flows.pixelcnn.utils import MaskedConv2d

        positions, codebook = counts.shape
        self.sides = sides
        rows = torch.arange(positions) * codebook if flat else torch.zeros(positions).long()
        self.register_buffer("row", rows, persistent=False)
        self.register_buffer("start", counts.double().log().float().T, persistent=False)
        self.vectors = nn.Embedding(codebook * (positions if flat else 1), _CODE)
        self.places = nn.Parameter(torch.zeros(_WIDTH, *sides))
        reach = [min(side - 1, _REACH) for side in sides]
        self.first = MaskedConv2d(
            "A", _CODE, _WIDTH, tuple(2 * n + 1 for n in reach), padding=tuple(reach)
        )
        near = [min(n, 1) for n in reach]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                MaskedConv2d(
                    "B", _WIDTH, _WIDTH, tuple(2 * n + 1 for n in near), padding=tuple(near)
                ),
                nn.ReLU(),
                nn.Conv2d(_WIDTH, _WIDTH, 1),
            )
            for _ in range(_LAYERS)
        )
        self.last = nn.Conv2d(_WIDTH, codebook, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Logits, B x K x positions, of codes B x positions."""
        vectors = self.vectors(codes + self.row).transpose(1, 2)
        hidden = self.first(vectors.unflatten(2, self.sides)) + self.places
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return self.last(hidden.relu()).flatten(2) + self.start


def pixelcnn(codes: np.ndarray, grid: tuple[int, ...], codebook: int) -> Sampler:
    """A sampler of codes, B x positions, fitted to N x positions; `grid`: () for flat ones."""
    flat = not grid
    sides = (1, codes.shape[1]) if flat else tuple(grid)
    network, _ = fit_codes(codes, sides, flat, codebook)
    noise = Noise(0, SAMPLES)

    @torch.no_grad()
    def make(count: int) -> np.ndarray:
        u = noise.uniform(count, codes.shape[1])
        drawn = torch.zeros(u.shape, dtype=torch.int64)
        for i in range(u.shape[1]):
            shares = network(drawn)[:, :, i].double().softmax(1).cumsum(1).numpy()
            rows = zip(u[:, i], shares, strict=True)
            drawn[:, i] = torch.tensor([draw_codes(value, row) for value, row in rows])
        return drawn.numpy()

    return Sampler(
        "pixelcnn",
        "codes drawn from a PixelCNN",
        f"codes drawn one after the other from a PixelCNN of the training split's codes (Pythae's "
        f"masked convolutions: one over at most {_REACH} positions each way, {_LAYERS} residual "
        f"ones over 1, {_WIDTH} channels, codes as learned vectors of {_CODE}, for a flat latent "
        f"other ones in each dimension), which begins at each position's frequencies and is fitted "
        f"by maximum likelihood, {_RECIPE}",
        Blocks(make).draw,
    )


def fit_codes(
    codes: np.ndarray, sides: tuple[int, int], flat: bool, codebook: int
) -> tuple[CodePrior, torch.Tensor]:
    """The network fitted to codes N x positions, and how often each code is used at each."""
    counts = np.stack([np.bincount(position, minlength=codebook) for position in codes.T])
    counts = torch.from_numpy(counts)
    network = seeded(lambda: CodePrior(counts, sides, flat))

    def loss(part: torch.Tensor) -> torch.Tensor:
        part = part.long()
        return nn.functional.cross_entropy(network(part), part, reduction="none").sum(1)

    fit(network, loss, torch.from_numpy(codes), _RECIPE, "fit pixelcnn")
    return network, counts
