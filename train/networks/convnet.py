"""Pythae's benchmark convnets for MNIST, CIFAR and CelebA, with the base width as a parameter.

The shapes are those of `pythae.models.nn.benchmarks.{mnist,cifar,celeba}` (after Tolstikhin et
al. 2018, arXiv:1711.01558), module names included, so that at width 128 a state dict of theirs
loads here and the other way round. `GridEncoder` and `GridDecoder` are the same trunk without its
Linear, for a VQ-VAE whose latent is a grid of codes (van den Oord et al. 2017, arXiv:1711.00937).

This module imports nothing of the project: Pythae's `save` pickles it by value beside the
weights, and `AutoModel.load_from_folder` must be able to open that far from this repository.
"""

import itertools
from dataclasses import dataclass

import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from torch import nn


@dataclass(frozen=True)
class Upsampling:
    """A transposed convolution: channels out as a multiple of the width (0: the image)."""

    multiple: int
    kernel: int
    stride: int
    padding: int
    output_padding: int = 0


def _halved(side: int, padding: int = 1) -> int:
    """Side of a map after a convolution with kernel 4 and stride 2."""
    return (side + 2 * padding - 4) // 2 + 1


@dataclass(frozen=True)
class Layout:
    """What differs between the three networks."""

    side: int
    # Side of the map that the decoder's Linear makes, 8 x width channels deep.
    decoder_side: int
    upsampling: tuple[Upsampling, ...]
    # Pythae's CelebA decoder wraps its Linear in a Sequential; the name in the state dict shows it.
    wrapped_linear: bool = False
    # Its CelebA discriminator alone has batch normalisation.
    normed_discriminator: bool = False

    @property
    def encoder_side(self) -> int:
        """Side of the last map of four convolutions with kernel 4, stride 2, padding 1."""
        side = self.side
        for _ in range(4):
            side = _halved(side)
        return side

    @property
    def decoder_sides(self) -> list[int]:
        """Side of the map that each upsampling layer takes, and of the image at the end."""
        sides = [self.decoder_side]
        for up in self.upsampling:
            sides.append(
                (sides[-1] - 1) * up.stride - 2 * up.padding + up.kernel + up.output_padding
            )
        return sides


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
        normed_discriminator=True,
    ),
}


def _check_levels(levels: list[int] | None, depth: int) -> int:
    """How many layers are wanted: all, or as many as the deepest of `levels` (-1: all)."""
    if levels is None or -1 in levels:
        return depth
    if not all(0 < level <= depth for level in levels):
        raise ValueError(f"layer levels {levels}: 1 to {depth}, or -1, are there")
    return max(levels)


def _downsampling(channels: int, width: int, paddings: list[int]) -> nn.ModuleList:
    """Conv 4x4 stride 2, BatchNorm, ReLU, one for each padding; 1, 2, 4, 8 x `width` channels."""
    widths = [channels, width, 2 * width, 4 * width, 8 * width][: len(paddings) + 1]
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(a, b, 4, 2, padding=padding), nn.BatchNorm2d(b), nn.ReLU())
        for (a, b), padding in zip(itertools.pairwise(widths), paddings, strict=True)
    )


def _upsampling(
    steps: tuple[Upsampling, ...], depth_in: int, width: int, channels: int
) -> list[nn.Module]:
    """Transposed convolutions, BatchNorm, ReLU; Sigmoid at the image."""
    layers: list[nn.Module] = []
    for up in steps:
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
    return layers


class ConvEncoder(BaseEncoder):
    """Four times Conv 4x4 stride 2, BatchNorm, ReLU (width 1, 2, 4, 8 x `width`), then Linear."""

    def __init__(
        self, layout: Layout, channels: int, latent_dim: int, width: int, spread: str | None
    ) -> None:
        BaseEncoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        self.layers = _downsampling(channels, width, [1] * 4)
        self.depth = len(self.layers)
        features = 8 * width * layout.encoder_side**2
        self.embedding = nn.Linear(features, latent_dim)
        if spread == "log_covariance":
            self.log_var = nn.Linear(features, latent_dim)
        elif spread == "log_concentration":
            self.log_concentration = nn.Linear(features, 1)

    def forward(self, x: torch.Tensor, output_layer_levels: list[int] | None = None):
        """B x C x H x W -> `embedding` and what `spread` names.

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
                if hasattr(self, "log_concentration"):
                    output["log_concentration"] = self.log_concentration(features)
        return output


class ConvDecoder(BaseDecoder):
    """Linear to 8 x `width` maps, then transposed convolutions, BatchNorm, ReLU; Sigmoid last."""

    def __init__(self, layout: Layout, channels: int, latent_dim: int, width: int) -> None:
        BaseDecoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        self.first_map = (8 * width, layout.decoder_side, layout.decoder_side)
        linear = nn.Linear(latent_dim, 8 * width * layout.decoder_side**2)
        first = nn.Sequential(linear) if layout.wrapped_linear else linear
        layers = [first, *_upsampling(layout.upsampling, 8 * width, width, channels)]
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


class ConvDiscriminator(BaseDiscriminator):
    """The encoder's trunk (Tanh after its second layer), then Linear and Sigmoid to one score."""

    def __init__(self, layout: Layout, channels: int, width: int) -> None:
        BaseDiscriminator.__init__(self)
        self.layers = nn.ModuleList()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        for level, (a, b) in enumerate(itertools.pairwise(widths), 1):
            norm = [nn.BatchNorm2d(b)] if layout.normed_discriminator else []
            activation = nn.Tanh() if level == 2 else nn.ReLU()
            self.layers.append(nn.Sequential(nn.Conv2d(a, b, 4, 2, padding=1), *norm, activation))
        score = nn.Linear(widths[-1] * layout.encoder_side**2, 1)
        self.layers.append(nn.Sequential(score, nn.Sigmoid()))
        self.depth = len(self.layers)

    def forward(self, x: torch.Tensor, output_layer_levels: list[int] | None = None):
        """B x C x H x W -> `embedding`, B x 1: the probability that an image is real.

        With `output_layer_levels` also `embedding_layer_i`, the output of layer i (from 1), and no
        `embedding` where none of them is the last.
        """
        output = ModelOutput()
        for level in range(1, _check_levels(output_layer_levels, self.depth) + 1):
            if level == self.depth:
                x = x.reshape(x.shape[0], -1)
            x = self.layers[level - 1](x)
            if output_layer_levels is not None and level in output_layer_levels:
                output[f"embedding_layer_{level}"] = x
            if level == self.depth:
                output["embedding"] = x
        return output


def _grid_paddings(side: int, grid_side: int) -> list[int]:
    """Paddings of the stride-2 convolutions that take `side` to `grid_side`: 1, but at the last."""
    paddings = []
    while side > grid_side:
        padding = 1
        if _halved(side) < grid_side:  # 28 pixels halve to 14 and 7, no grid's side
            padding = next(p for p in range(1, 4) if _halved(side, p) == grid_side)
        paddings.append(padding)
        side = _halved(side, padding)
    return paddings


class GridEncoder(BaseEncoder):
    """The trunk's convolutions down to `grid_side`, then a 1x1 convolution to the embedding."""

    def __init__(
        self, layout: Layout, channels: int, latent_dim: int, width: int, grid_side: int
    ) -> None:
        BaseEncoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        self.layers = _downsampling(channels, width, _grid_paddings(layout.side, grid_side))
        features = self.layers[-1][0].out_channels
        self.embedding = nn.Conv2d(features, latent_dim, 1)

    def forward(self, x: torch.Tensor):
        """B x C x H x W -> `embedding`, B x latent_dim x grid_side x grid_side."""
        for layer in self.layers:
            x = layer(x)
        return ModelOutput(embedding=self.embedding(x))


class GridDecoder(BaseDecoder):
    """A 1x1 convolution from the embedding into the trunk's upsampling layers.

    The trunk is entered at the map whose side is the grid's. Where it has none (15 in place of 16),
    a convolution with a kernel larger by the difference takes the grid to the next smaller map; a
    grid smaller than the trunk's first map is doubled once.
    """

    def __init__(
        self, layout: Layout, channels: int, latent_dim: int, width: int, grid_side: int
    ) -> None:
        BaseDecoder.__init__(self)
        self.input_dim = (channels, layout.side, layout.side)
        self.latent_dim = latent_dim
        sides = layout.decoder_sides
        entry = max((i for i, side in enumerate(sides[:-1]) if side <= grid_side), default=0)
        depth = 8 * width if entry == 0 else layout.upsampling[entry - 1].multiple * width
        layers: list[nn.Module] = [nn.Conv2d(latent_dim, depth, 1)]
        excess = grid_side - sides[entry]
        if excess:
            fitting = (
                nn.Conv2d(depth, depth, 3 + excess, padding=1)
                if excess > 0
                else nn.ConvTranspose2d(depth, depth, 4, 2, padding=1)
            )
            layers.append(nn.Sequential(fitting, nn.BatchNorm2d(depth), nn.ReLU()))
        layers += _upsampling(layout.upsampling[entry:], depth, width, channels)
        self.layers = nn.ModuleList(layers)
        self.depth = len(self.layers)

    def forward(self, z: torch.Tensor):
        """B x latent_dim x grid_side x grid_side -> `reconstruction`, B x C x H x W in (0, 1)."""
        for layer in self.layers:
            z = layer(z)
        return ModelOutput(reconstruction=z)
