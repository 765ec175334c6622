"""Whether latents come back when their images are encoded: what holes of a latent space show by."""

import numpy as np
import torch

# A sample beyond this quantile of the images is in a hole.
QUANTILE = 0.99
# With fewer images that quantile is their largest, or nearly.
FEWEST = 100


def reencoding(z: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
    """Root mean square over dimensions of z - E(D(z)): B x D each -> B, float64."""
    return (z.double() - again.double()).square().mean(1).sqrt()


def holes(samples: np.ndarray, images: np.ndarray) -> float:
    """Share of the samples' re-encodings that lie above the 99 % quantile of the images'."""
    return float((samples > np.quantile(images, QUANTILE)).mean())
