"""LPIPS 0.1 (Zhang et al. 2018, arXiv:1801.03924), computed by the package `lpips`.

The package holds the linear heads and would download the trunk's ImageNet weights. Here the
trunk comes from a file that is already there, checked against the hash in its name; nothing is
ever downloaded.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from evaluate.metrics.weights import (
    WeightsError,
    check_digest,
    digest_in,
    find_file,
    where_to_put,
)

VERSION = "0.1"
ORIGIN = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Trunk:
    """A backbone: `file` is torchvision's, `least` the smallest side of an image in pixels."""

    title: str
    file: str
    least: int

    @property
    def digest(self) -> str:
        """How the SHA-256 of the file begins, as its name has it."""
        return digest_in(self.file)


TRUNKS = {
    "vgg": Trunk("VGG", "vgg16-397923af.pth", 16),
    "alex": Trunk("AlexNet", "alexnet-owt-7be5be79.pth", 31),
}


def find_weights(backbone: str, folder: Path | None = None) -> Path | None:
    """The trunk's file in `folder` or in torch's hub cache; None where neither has it."""
    return find_file(TRUNKS[backbone].file, folder)


def remedy(backbone: str, folder: Path | None = None) -> str:
    """What to do where `find_weights` finds none: where it looked, and where the file is from."""
    return where_to_put(TRUNKS[backbone].file, ORIGIN, folder)


@lru_cache(maxsize=4)
def load_lpips(backbone: str, path: Path) -> torch.nn.Module:
    """The `lpips` network, in eval mode on the CPU, its trunk filled from `path`.

    WeightsError where the file's SHA-256 does not begin as its name says, or it holds no such
    trunk.
    """
    import lpips  # takes seconds: it imports scikit-image and scipy

    check_digest(path, ORIGIN)
    # On the meta device nothing is drawn at random: torch's generator stays where it is, and
    # VGG's 124 million parameters above the trunk never exist.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by names of long ago
        net = lpips.LPIPS(
            net=backbone, version=VERSION, pnet_rand=True, pretrained=False, verbose=False
        )
    heads = Path(lpips.__file__).parent / "weights" / f"v{VERSION}" / f"{backbone}.pth"
    state = torch.load(heads, map_location="cpu", weights_only=True)
    state |= {f"lins.{key.removeprefix('lin')}": value for key, value in state.items()}
    state |= dict(net.named_buffers())
    try:
        trunk = torch.load(path, map_location="cpu", weights_only=True)
        for name in net.net.state_dict():
            # slice3.10.weight there is features.10.weight in torchvision.
            state[f"net.{name}"] = trunk["features." + name.split(".", 1)[1]]
        net.load_state_dict(state, assign=True)
    except Exception as error:
        raise WeightsError(f"{path}: holds no {TRUNKS[backbone].title} trunk: {error}") from None
    return net.requires_grad_(False).eval()


def lpips_distance(
    net: torch.nn.Module, x: torch.Tensor, x_hat: torch.Tensor, rescale: bool = True
) -> torch.Tensor:
    """Distance of B x C x H x W images in [0, 1] -> B; 0 for identical images.

    Images are scaled to [-1, 1], as the network wants them; `rescale=False` feeds them as they
    are. One channel is repeated to three.
    """
    pair = (image.expand(-1, 3, -1, -1) for image in (x, x_hat))
    return net(*pair, normalize=rescale).flatten()
