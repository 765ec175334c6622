"""Fully connected networks of any widths: Linear, ReLU, Dropout; Sigmoid at the image.

This module imports nothing of the project: Pythae's `save` pickles it by value beside the
weights, and `AutoModel.load_from_folder` must be able to open that far from this repository.
"""

import itertools
import math

import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn


def _hidden(widths: list[int], dropout: float) -> nn.ModuleList:
    """One Sequential for each step of `widths`; no Dropout module where its rate is 0."""
    layers = nn.ModuleList()
    for a, b in itertools.pairwise(widths):
        drop = [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Sequential(nn.Linear(a, b), nn.ReLU(), *drop))
    return layers


class MlpEncoder(BaseEncoder):
    """Hidden layers of `widths`, then Linear to the latent (and to its log-variance)."""

    def __init__(
        self,
        input_dim: tuple[int, int, int],
        latent_dim: int,
        widths: list[int],
        dropout: float,
        spread: str | None,
    ) -> None:
        BaseEncoder.__init__(self)
        self.input_dim = input_dim
        self.latent_dim = latent_dim
        self.layers = _hidden([math.prod(input_dim), *widths], dropout)
        self.embedding = nn.Linear(widths[-1], latent_dim)
        if spread == "log_covariance":
            self.log_var = nn.Linear(widths[-1], latent_dim)
        elif spread == "log_concentration":
            self.log_concentration = nn.Linear(widths[-1], 1)

    def forward(self, x: torch.Tensor):
        """B x C x H x W -> `embedding` and what `spread` names."""
        out = x.reshape(x.shape[0], -1)
        for layer in self.layers:
            out = layer(out)
        output = ModelOutput(embedding=self.embedding(out))
        if hasattr(self, "log_var"):
            output["log_covariance"] = self.log_var(out)
        if hasattr(self, "log_concentration"):
            output["log_concentration"] = self.log_concentration(out)
        return output


class MlpDecoder(BaseDecoder):
    """Hidden layers of `widths`, then Linear and Sigmoid to the image."""

    def __init__(
        self,
        input_dim: tuple[int, int, int],
        latent_dim: int,
        widths: list[int],
        dropout: float,
    ) -> None:
        BaseDecoder.__init__(self)
        self.input_dim = input_dim
        self.latent_dim = latent_dim
        self.layers = _hidden([latent_dim, *widths], dropout)
        self.image = nn.Sequential(nn.Linear(widths[-1], math.prod(input_dim)), nn.Sigmoid())

    def forward(self, z: torch.Tensor):
        """B x latent_dim -> `reconstruction`, B x C x H x W in (0, 1)."""
        out = z
        for layer in self.layers:
            out = layer(out)
        image = self.image(out)
        return ModelOutput(reconstruction=image.reshape(z.shape[0], *self.input_dim))
