"""Mean and principal components of images that need not fit into memory."""

from dataclasses import dataclass

import numpy as np
import torch

from evaluate.metrics.diversity import Diversity
from study.progress import progress
from train.dataset import to_unit
from train.latents.base import SAMPLES, Noise

# Images at a time in a pass over the training split: what bounds memory.
BATCH = 256
# Dimensions of the iterated subspace beyond those asked for: what makes it converge in a few
# passes.
SPARE = 32
# Passes end when one adds less to the explained variance than this share of what is left out, or
# of itself: of less than that, products in float32 know nothing.
GAIN, ROUNDING, PASSES = 1e-5, 1e-9, 30


@dataclass(frozen=True)
class Components:
    """Principal components: mean (D), unit directions (D x K) and variances (K, falling, of N - 1
    degrees of freedom) of images in [0, 1], all float64 on the CPU."""

    mean: torch.Tensor
    directions: torch.Tensor
    variances: torch.Tensor


def principal_components(images: np.ndarray, count: int, device: torch.device) -> Components:
    """The `count` leading components (at most min(N, D)) of uint8 images N x C x H x W.

    By subspace iteration (Halko et al. 2011, arXiv:0909.4061, algorithm 4.4) from a fixed start,
    until a pass over the images changes no digit of a reconstruction error that a table shows: the
    covariance, D x D, is never formed, and memory does not grow with N. scikit-learn's
    IncrementalPCA, beside it on 8,000 images of 64 x 64, took four times as long and missed more
    of the variance.
    """
    dimensions = int(np.prod(images.shape[1:]))
    count = min(count, len(images), dimensions)
    width = min(dimensions, count + SPARE)
    start = Noise(0, SAMPLES).draw(dimensions, width).double()
    basis = torch.linalg.qr(start)[0]
    mean, total = mean_image(images).flatten(), _total_variance(images)
    explained = 0.0
    with progress(PASSES, "principal components", "pass") as bar:
        for _ in range(PASSES):
            image_of = _covariance_times(images, mean, basis, device)
            projected = basis.T @ image_of
            values, rotation = torch.linalg.eigh((projected + projected.T) / 2)
            directions = (basis @ rotation).flip(1)[:, :count]
            variances = values.flip(0)[:count].clamp(min=0)
            bar.update(1)
            before, explained = explained, float(variances.sum())
            # A basis of the whole space needs no second look.
            least = max(GAIN * (total - explained), ROUNDING * explained)
            if width == dimensions or explained - before <= least:
                break
            basis = torch.linalg.qr(image_of)[0]
    return Components(mean, directions, variances)


def _covariance_times(
    images: np.ndarray, mean: torch.Tensor, basis: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """The images' covariance times a basis, D x K, a batch at a time; summed in float64."""
    small, centre = basis.to(device, torch.float32), mean.to(device, torch.float32)
    total = torch.zeros_like(basis, device=device)
    for start in range(0, len(images), BATCH):
        x = to_unit(images[start : start + BATCH]).to(device).flatten(1) - centre
        total += (x.T @ (x @ small)).double()
    return total.cpu() / max(1, len(images) - 1)


def mean_image(images: np.ndarray) -> torch.Tensor:
    """The mean of uint8 images N x C x H x W, in [0, 1], float64: C x H x W. Summed exactly."""
    total = np.zeros(images.shape[1:], np.int64)
    for start in range(0, len(images), BATCH):
        total += images[start : start + BATCH].sum(0, dtype=np.int64)
    return torch.from_numpy(total / (255 * len(images)))


def _total_variance(images: np.ndarray) -> float:
    """The trace of the covariance of uint8 images, of N - 1 degrees of freedom, in [0, 1]."""
    spread = Diversity()
    for start in range(0, len(images), BATCH):
        spread.add(to_unit(images[start : start + BATCH]))
    # The squared distance of two images is on average twice the variance.
    return 0.0 if spread.value is None else spread.value**2 / 2 * images[0].size
