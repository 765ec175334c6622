"""Generations: samples measured against their own reconstructions, and against the data."""

from dataclasses import dataclass

import numpy as np
import torch

from evaluate.measure import Meter, Result, Values, named, refuse_unless_finite
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.sharpness import sharpness
from study.progress import progress
from train.latents.base import Sampler


@dataclass(frozen=True)
class Generation:
    """What one sampler gave: values per sample, numbers of all samples, and the first samples.

    `shown` and `reconstructed` are uint8 N x C x H x W; `missing` says why a number is not there.
    """

    sampler: Sampler
    count: int
    result: Result
    missing: dict[str, str]
    shown: np.ndarray
    reconstructed: np.ndarray


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def generate(
    meter: Meter,
    sampler: Sampler,
    data: Result,
    count: int,
    batch_size: int,
    pictures: int,
    what: str,
) -> Generation:
    """Draw `count` samples and measure each against its own reconstruction.

    Samples stay as decoded, not rounded to grey levels. `diversity` (of all) and `sharpness`
    (per sample) are divided by `data`'s; RunFailed where a sample is not finite.
    """
    values, spread = Values(), Diversity()
    shown, again = [], []
    with progress(count, f"{what} {sampler.key}", "sample") as bar:
        for start in range(0, count, batch_size):
            z = sampler.draw(min(batch_size, count - start))
            s = meter.latents.decode(z)
            where = f"{what}, samples ({sampler.title})"
            named(where, start, len(s), lambda s=s: refuse_unless_finite("a sample", s))
            measured = named(where, start, len(s), lambda s=s: meter.measure(s))
            values.add(measured.values)
            if data.sharpness:
                values.add({"sharpness": sharpness(s) / data.sharpness})
            spread.add(s)
            if start < pictures:
                shown.append(to_bytes(s[: pictures - start]))
                again.append(to_bytes(measured.x_hat[: pictures - start]))
            bar.update(len(s))
    result = Result(values.whole(), _relative(spread.value, data.diversity))
    missing = {
        key: "fewer than two images, or data that do not vary"
        for key, there in (("diversity", result.per_split), ("sharpness", result.per_image))
        if key not in there
    }
    return Generation(sampler, count, result, missing, np.concatenate(shown), np.concatenate(again))


def _relative(samples: float | None, data: float | None) -> dict[str, float]:
    return {"diversity": samples / data} if samples is not None and data else {}
