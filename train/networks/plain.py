"""Three plain convolutions, as the experiment notes describe their autoencoders for 56x56.

Channels 3-16-32-64 with ReLU and no normalisation, a Linear to the latent, the mirror image as
decoder. Kernel and stride are not stated; 4 and 2 with padding 1 halve a side exactly.

This module imports nothing of the project: Pythae's `save` pickles it by value beside the
weights, and `AutoModel.load_from_folder` must be able to open that far from this repository.
"""

import itertools

import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn

SIDE = 56
# Of the innermost map.
INNER = SIDE // 8


class PlainEncoder(BaseEncoder):
    """Three times Conv 4x4 stride 2, ReLU (1, 2, 4 x `width` channels), then Linear."""

    def __init__(self, channels: int, latent_dim: int, width: int, spread: str | None) -> None:
        BaseEncoder.__init__(self)
        self.input_dim = (channels, SIDE, SIDE)
        self.latent_dim = latent_dim
        widths = [channels, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 4, 2, padding=1), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        )
        features = 4 * width * INNER**2
        self.embedding = nn.Linear(features, latent_dim)
        if spread == "log_covariance":
            self.log_var = nn.Linear(features, latent_dim)
        elif spread == "log_concentration":
            self.log_concentration = nn.Linear(features, 1)

    def forward(self, x: torch.Tensor):
        """B x C x 56 x 56 -> `embedding` and what `spread` names."""
        for layer in self.layers:
            x = layer(x)
        features = x.reshape(x.shape[0], -1)
        output = ModelOutput(embedding=self.embedding(features))
        if hasattr(self, "log_var"):
            output["log_covariance"] = self.log_var(features)
        if hasattr(self, "log_concentration"):
            output["log_concentration"] = self.log_concentration(features)
        return output


class PlainDecoder(BaseDecoder):
    """Linear and ReLU, then the encoder's convolutions transposed; Sigmoid at the image."""

    def __init__(self, channels: int, latent_dim: int, width: int) -> None:
        BaseDecoder.__init__(self)
        self.input_dim = (channels, SIDE, SIDE)
        self.latent_dim = latent_dim
        self.first_map = (4 * width, INNER, INNER)
        self.linear = nn.Sequential(nn.Linear(latent_dim, 4 * width * INNER**2), nn.ReLU())
        widths = [4 * width, 2 * width, width, channels]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(a, b, 4, 2, padding=1),
                nn.ReLU() if level < 3 else nn.Sigmoid(),
            )
            for level, (a, b) in enumerate(itertools.pairwise(widths), 1)
        )

    def forward(self, z: torch.Tensor):
        """B x latent_dim -> `reconstruction`, B x C x 56 x 56 in (0, 1)."""
        out = self.linear(z).reshape(z.shape[0], *self.first_map)
        for layer in self.layers:
            out = layer(out)
        return ModelOutput(reconstruction=out)
