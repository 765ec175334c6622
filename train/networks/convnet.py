"""Pythae's benchmark convnets for MNIST, CIFAR and CelebA, with the base width as a parameter.

The shapes are those of `pythae.models.nn.benchmarks.{mnist,cifar,celeba}` (after Tolstikhin et
al. 2018, arXiv:1711.01558), module names included, so that at width 128 a state dict of theirs
loads here and the other way round.

This module imports nothing of the project: Pythae's `save` pickles it by value beside the
weights, and `AutoModel.load_from_folder` must be able to open that far from this repository.
"""

import itertools
from dataclasses import dataclass

import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn


@dataclass(frozen=True)
class Upsampling:
    """A transposed convolution: channels out as a multiple of the width (0: the image)."""

    multiple: int
    kernel: int
    stride: int
    padding: int
    output_padding: int = 0


@dataclass(frozen=True)
class Layout:
    """What differs between the three networks."""

    side: int
    # Side of the map that the decoder's Linear makes, 8 x width channels deep.
    decoder_side: int
    upsampling: tuple[Upsampling, ...]
    # Pythae's CelebA decoder wraps its Linear in a Sequential; the name in the state dict shows it.
    wrapped_linear: bool = False

    @property
    def encoder_side(self) -> int:
        """Side of the last map of four convolutions with kernel 4, stride 2, padding 1."""
        side = self.side
        for _ in range(4):
            side = (side + 2 - 4) // 2 + 1
        return side


LAYOUTS = {
    "convnet28": Layout(
        28, 4, (Upsampling(4, 3, 2, 1), Upsampling(2, 3, 2, 1, 1), Upsampling(0, 3, 2, 1, 1))
    ),
    "convnet32": Layout(
        32, 8, (Upsampling(4, 4, 2, 1), Upsampling(2, 4, 2, 1, 1), Upsampling(0, 4, 1, 2))
    ),
    "convnet64": Layout(
        64,
        8,
        (
            Upsampling(4, 5, 2, 2),
            Upsampling(2, 5, 2, 1),
            Upsampling(1, 5, 2, 2, 1),
            Upsampling(0, 5, 1, 1),
        ),
        wrapped_linear=True,
    ),
}


def _check_levels(levels: list[int] | None, depth: int) -> int:
    """How many layers are wanted: all, or as many as the deepest of `levels` (-1: all)."""
    if levels is None or -1 in levels:
        return depth
    if not all(0 < level <= depth for level in levels):
        raise ValueError(f"layer levels {levels}: 1 to {depth}, or -1, are there")
    return max(levels)


class ConvEncoder(BaseEncoder):
    """Four times Conv 4x4 stride 2, BatchNorm, ReLU (width 1, 2, 4, 8 x `width`), then Linear."""

    def __init__(
        self, layout: Layout, channels: int, latent_dim: int, width: int, variational: bool
    ) -> None:
        BaseEncoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 4, 2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        )
        self.depth = len(self.layers)
        features = widths[-1] * layout.encoder_side**2
        self.embedding = nn.Linear(features, latent_dim)
        if variational:
            self.log_var = nn.Linear(features, latent_dim)

    def forward(self, x: torch.Tensor, output_layer_levels: list[int] | None = None):
        """B x C x H x W -> `embedding` and, if variational, `log_covariance` (B x latent_dim).

        With `output_layer_levels` also `embedding_layer_i`, the output of layer i (from 1).
        """
        output = ModelOutput()
        for level in range(1, _check_levels(output_layer_levels, self.depth) + 1):
            x = self.layers[level - 1](x)
            if output_layer_levels is not None and level in output_layer_levels:
                output[f"embedding_layer_{level}"] = x
            if level == self.depth:
                features = x.reshape(x.shape[0], -1)
                output["embedding"] = self.embedding(features)
                if hasattr(self, "log_var"):
                    output["log_covariance"] = self.log_var(features)
        return output


class ConvDecoder(BaseDecoder):
    """Linear to 8 x `width` maps, then transposed convolutions, BatchNorm, ReLU; Sigmoid last."""

    def __init__(self, layout: Layout, channels: int, latent_dim: int, width: int) -> None:
        BaseDecoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        self.first_map = (8 * width, layout.decoder_side, layout.decoder_side)
        linear = nn.Linear(latent_dim, 8 * width * layout.decoder_side**2)
        layers: list[nn.Module] = [nn.Sequential(linear) if layout.wrapped_linear else linear]
        depth_in = 8 * width
        for up in layout.upsampling:
            depth_out = up.multiple * width or channels
            convolution = nn.ConvTranspose2d(
                depth_in,
                depth_out,
                up.kernel,
                up.stride,
                padding=up.padding,
                output_padding=up.output_padding,
            )
            after = [nn.BatchNorm2d(depth_out), nn.ReLU()] if up.multiple else [nn.Sigmoid()]
            layers.append(nn.Sequential(convolution, *after))
            depth_in = depth_out
        self.layers = nn.ModuleList(layers)
        self.depth = len(self.layers)

    def forward(self, z: torch.Tensor, output_layer_levels: list[int] | None = None):
        """B x latent_dim -> `reconstruction`, B x C x H x W in (0, 1).

        With `output_layer_levels` also `reconstruction_layer_i`, the output of layer i (from 1).
        """
        output = ModelOutput()
        out = z
        for level in range(1, _check_levels(output_layer_levels, self.depth) + 1):
            out = self.layers[level - 1](out)
            if level == 1:
                out = out.reshape(z.shape[0], *self.first_map)
            if output_layer_levels is not None and level in output_layer_levels:
                output[f"reconstruction_layer_{level}"] = out
            if level == self.depth:
                output["reconstruction"] = out
        return output
