"""InceptionV3 as FID has it (Heusel et al. 2017, arXiv:1706.08500): `torch-fidelity`'s network.

The weights come from a file that is already there; nothing is ever downloaded.
"""

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import torch

from evaluate.metrics.weights import WeightsError, check_digest, find_file, where_to_put

FILE = "weights-inception-2015-12-05-6726825d.pth"
ORIGIN = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
# The layer: pool3 of the original network.
LAYER = "2048"
DIMENSIONS = 2048


def find_inception(folder: Path | None = None) -> Path | None:
    """The weights' file in `folder` or in torch's hub cache; None where neither has it."""
    return find_file(FILE, folder)


def remedy(folder: Path | None = None) -> str:
    """What to do where there is none."""
    return f"{where_to_put(FILE, ORIGIN, folder)}, or give its folder by --weights"


@lru_cache(maxsize=1)
def load_inception(path: Path) -> tuple[torch.nn.Module, str]:
    """The network in eval mode on the CPU, and the file's SHA-256.

    WeightsError where that does not begin as the file's name says, or the file holds no such
    network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    digest = check_digest(path, ORIGIN)
    try:
        # The package would unpickle whatever the file holds; it is given a copy of its tensors.
        tensors = BytesIO()
        torch.save(torch.load(path, map_location="cpu", weights_only=True), tensors)
        tensors.seek(0)
        with torch.random.fork_rng(devices=[]):
            net = FeatureExtractorInceptionV3(
                "inception", [LAYER], feature_extractor_weights_path=tensors
            )
    except Exception as error:
        raise WeightsError(f"{path}: holds no InceptionV3 of torch-fidelity: {error}") from None
    return net, digest


@torch.inference_mode()
def inception_features(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Features of B x C x H x W images in [0, 1] -> B x 2048, float32.

    The network takes bytes, and scales them to 299 x 299 itself, as the original did; one channel
    is repeated to three.
    """
    levels = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return net(levels.expand(-1, 3, -1, -1))[0]
