"""Encoders, decoders, discriminators by name. Sizes come from `model.latent_dim` and the data."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.models.nn.default_architectures import Discriminator_MLP

from study.errors import StudyError
from study.pythae_json import spread_of
from study.schema_training import ConvGrid, ConvNet, Mlp, PlainConv
from train.networks import convnet, mlp, plain


@dataclass(frozen=True)
class Parts:
    """The networks of a model. `discriminator` makes one that judges images, where there is one."""

    encoder: BaseEncoder
    decoder: BaseDecoder
    discriminator: Callable[[], BaseDiscriminator] | None = None


def _check_side(networks: Any, side: int, model: Any, where: str) -> None:
    height, width = model.input_dim[1:]
    if (height, width) != (side, side):
        raise StudyError(
            f"{where}: networks.name: {networks.name} takes {side}x{side} images, "
            f"the data set's are {height}x{width}"
        )


def _image_sizes(networks: Any, model: Any) -> dict[str, int]:
    """What every convolutional network is sized by, discriminators included."""
    return {"channels": model.input_dim[0], "width": networks.width}


def _convnet(networks: ConvNet, model: Any, where: str) -> Parts:
    layout = convnet.LAYOUTS[networks.name]
    _check_side(networks, layout.side, model, where)
    image = _image_sizes(networks, model)
    sizes = image | {"latent_dim": model.latent_dim}
    encoder = convnet.ConvEncoder(layout, spread=spread_of(model), **sizes)
    decoder = convnet.ConvDecoder(layout, **sizes)
    return Parts(encoder, decoder, lambda: convnet.ConvDiscriminator(layout, **image))


def _convgrid(networks: ConvGrid, model: Any, where: str) -> Parts:
    layout = convnet.LAYOUTS[networks.name.removesuffix("_grid")]
    _check_side(networks, layout.side, model, where)
    sizes = _image_sizes(networks, model) | {
        "latent_dim": model.latent_dim,
        "grid_side": networks.grid_side,
    }
    return Parts(convnet.GridEncoder(layout, **sizes), convnet.GridDecoder(layout, **sizes))


def _plain(networks: PlainConv, model: Any, where: str) -> Parts:
    _check_side(networks, plain.SIDE, model, where)
    sizes = _image_sizes(networks, model) | {"latent_dim": model.latent_dim}
    encoder = plain.PlainEncoder(spread=spread_of(model), **sizes)
    return Parts(encoder, plain.PlainDecoder(**sizes))


def _mlp(networks: Mlp, model: Any, where: str) -> Parts:
    sizes = {
        "input_dim": tuple(model.input_dim),
        "latent_dim": model.latent_dim,
        "dropout": networks.dropout,
    }
    encoder = mlp.MlpEncoder(widths=networks.encoder, spread=spread_of(model), **sizes)
    # Pythae's own, which it would make itself if it were given none.
    image = SimpleNamespace(discriminator_input_dim=tuple(model.input_dim))
    decoder = mlp.MlpDecoder(widths=networks.decoder, **sizes)
    return Parts(encoder, decoder, lambda: Discriminator_MLP(image))


BUILDERS: dict[type, Callable[..., Parts]] = {
    ConvNet: _convnet,
    ConvGrid: _convgrid,
    PlainConv: _plain,
    Mlp: _mlp,
}


def build_networks(networks: Any, model: Any, where: str) -> Parts:
    """The networks of a run, weights drawn from torch's global generator.

    `model` is Pythae's model config with `input_dim` set. The encoder maps B x C x H x W in [0, 1]
    to `embedding` (B x latent_dim; B x latent_dim x S x S for a grid) and, where the model asks for
    it (`spread_of`), `log_covariance` (B x latent_dim) or `log_concentration` (B x 1); the decoder
    maps an embedding to `reconstruction` (B x C x H x W, in (0, 1)). StudyError where the networks
    do not fit the images; it begins with `where`.
    """
    return BUILDERS[type(networks)](networks, model, where)
