"""Encoders and decoders by name. Sizes come from `model.latent_dim` and the data's shape."""

from collections.abc import Callable
from typing import Any

from pythae.models.nn import BaseDecoder, BaseEncoder

from study.errors import StudyError
from study.pythae_json import is_variational
from study.schema import ConvNet, Mlp
from train.networks import convnet, mlp

Pair = tuple[BaseEncoder, BaseDecoder]


def _convnet(networks: ConvNet, model: Any, where: str) -> Pair:
    layout = convnet.LAYOUTS[networks.name]
    height, width = model.input_dim[1:]
    if (height, width) != (layout.side, layout.side):
        raise StudyError(
            f"{where}: networks.name: {networks.name} takes {layout.side}x{layout.side} images, "
            f"the data set's are {height}x{width}"
        )
    sizes = {
        "channels": model.input_dim[0],
        "latent_dim": model.latent_dim,
        "width": networks.width,
    }
    encoder = convnet.ConvEncoder(layout, variational=is_variational(model), **sizes)
    return encoder, convnet.ConvDecoder(layout, **sizes)


def _mlp(networks: Mlp, model: Any, where: str) -> Pair:
    sizes = {
        "input_dim": tuple(model.input_dim),
        "latent_dim": model.latent_dim,
        "dropout": networks.dropout,
    }
    encoder = mlp.MlpEncoder(widths=networks.encoder, variational=is_variational(model), **sizes)
    return encoder, mlp.MlpDecoder(widths=networks.decoder, **sizes)


BUILDERS: dict[str, Callable[..., Pair]] = {
    "convnet28": _convnet,
    "convnet32": _convnet,
    "convnet64": _convnet,
    "mlp": _mlp,
}


def build_networks(networks: ConvNet | Mlp, model: Any, where: str) -> Pair:
    """Encoder and decoder of a run, weights drawn from torch's global generator.

    `model` is Pythae's model config with `input_dim` set. The encoder maps B x C x H x W in [0, 1]
    to `embedding` (B x latent_dim) and, for a variational model, `log_covariance` of that shape;
    the decoder maps B x latent_dim to `reconstruction` (B x C x H x W, in (0, 1)).
    StudyError where the networks do not fit the images; it begins with `where`.
    """
    return BUILDERS[networks.name](networks, model, where)
