"""Generations: samples measured against their own reconstructions, and against the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluate.measure import Meter, named, refuse_unless_finite
from evaluate.metrics.diversity import Diversity
from evaluate.metrics.reencoding import holes, reencoding
from evaluate.metrics.sharpness import sharpness
from evaluate.partial import Partial, blocks
from evaluate.reach import Neighbours
from evaluate.result import Result, Values, part
from evaluate.sets import FeatureSet, compare
from study.progress import progress
from train.latents.base import Sampler


@dataclass(frozen=True)
class Generation:
    """What one sampler gave: values per sample, numbers of all samples, and the first samples.

    `shown`, `reconstructed` and `neighbours` (the training image nearest to each) are uint8 N x C
    x H x W; `missing` says why a number is not there.
    """

    sampler: Sampler
    count: int
    result: Result
    missing: dict[str, str]
    shown: np.ndarray
    reconstructed: np.ndarray
    neighbours: np.ndarray


@dataclass(frozen=True)
class Asked:
    """How many samples to measure and to picture, how many at a time, and what they are held
    against; `no_holes` says why holes have no number."""

    count: int
    pictures: int
    batch_size: int
    data: Result
    near: Neighbours
    no_holes: str | None = None

    @property
    def draws(self) -> int:
        """How many to draw in all: those of a finite data set's metrics need no reconstruction."""
        return max(self.count, self.near.finite.draws if self.near.finite else 0)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def generate(
    meter: Meter, sampler: Sampler, asked: Asked, what: str, partial: Partial | None = None
) -> Generation:
    """Draw samples and measure each against its own reconstruction, and all against the data.

    Samples stay as decoded, not rounded to grey levels. `diversity` (of all) and `sharpness`
    (per sample) are divided by the data's; RunFailed where a sample is not finite. Blocks that
    `partial` has are drawn, so that the sequence goes on, and not measured again.
    """
    partial = partial or Partial()
    total = _Total(meter, asked)
    with progress(asked.draws, f"{what} {sampler.key}", "sample") as bar:
        for number, block in enumerate(blocks(asked.draws)):
            name = f"generations-{sampler.key}-{number}"
            arrays = partial.get(name)
            if arrays is None:
                arrays = _Block(meter, sampler, asked, what, bar).measure(number, block)
                partial.put(name, arrays)
            else:
                _skip(sampler, block, asked.batch_size)
                bar.update(len(block))
            total.take(arrays)
    return total.generation(sampler)


def _skip(sampler: Sampler, block: range, batch_size: int) -> None:
    for start in range(0, len(block), batch_size):
        sampler.draw(min(batch_size, len(block) - start))


@dataclass
class _Block:
    """The work on one block of samples."""

    meter: Meter
    sampler: Sampler
    asked: Asked
    what: str
    bar: Any

    def measure(self, number: int, block: range) -> dict[str, np.ndarray]:
        """All that is known of a block when it is done, as arrays by name."""
        self.meter.begin(number)
        self.values, self.spread = Values(), Diversity()
        size = self.asked.batch_size
        starts = range(block.start, block.stop, size)
        # Together, since what they are compared with is read from end to end each time.
        drawn = torch.cat([self._batch(at, min(size, block.stop - at)) for at in starts])
        self._compare(block.start, drawn)
        return self.values.whole() | {f"spread.{k}": v for k, v in self.spread.state().items()}

    def _batch(self, start: int, count: int) -> torch.Tensor:
        z = self.sampler.draw(count)
        s = self.meter.latents.decode(z)
        where = f"{self.what}, samples ({self.sampler.title})"
        named(where, start, count, lambda: refuse_unless_finite("a sample", s))
        if (room := self.asked.count - start) > 0:
            self._measure(where, start, s[:room], z[:room])
        self.bar.update(count)
        return s

    def _compare(self, start: int, s: torch.Tensor) -> None:
        asked = self.asked
        if asked.near.finite is not None:
            self.values.add(asked.near.finite.nearest(s))
        if (room := asked.count - start) > 0:
            near = asked.near.distances(s[:room])
            index = near.pop("nearest")
            self.values.add(near)
            if (shown := asked.pictures - start) > 0:
                self.values.add({"near": asked.near.training[index[:shown]]})

    def _measure(self, where: str, start: int, s: torch.Tensor, z: torch.Tensor) -> None:
        meter, asked = self.meter, self.asked
        measured = named(where, start, len(s), lambda: meter.measure(s))
        self.values.add({f"value.{key}": value for key, value in measured.values.items()})
        if "re-encoding" in asked.data.per_image:
            again = reencoding(z, measured.encoded.z)
            named(where, start, len(s), lambda: refuse_unless_finite("a re-encoding", again))
            self.values.add({"value.re-encoding": again})
        if asked.data.sharpness:
            self.values.add({"value.sharpness": sharpness(s) / asked.data.sharpness})
        for word, features in meter.features.items():
            self.values.add({f"features.{word}": features.extract(s).cpu().numpy()})
        self.spread.add(s)
        if (room := asked.pictures - start) > 0:
            shown = {
                "shown": to_bytes(s[:room]),
                "again": to_bytes(measured.x_hat[:room]),
            }
            self.values.add(shown)


class _Total:
    """Blocks, put together."""

    def __init__(self, meter: Meter, asked: Asked) -> None:
        self.asked = asked
        self.how = meter.how
        self.values = Values()
        self.spread = Diversity()
        self.features = {word: FeatureSet(self.how.feature_images) for word in meter.features}

    def take(self, arrays: dict[str, np.ndarray]) -> None:
        for word, features in part(arrays, "features.").items():
            self.features[word].add(torch.from_numpy(features))
        self.spread.merge(Diversity.of(part(arrays, "spread.")))
        kept = {k: v for k, v in arrays.items() if not k.startswith(("features.", "spread."))}
        self.values.add(kept)

    def generation(self, sampler: Sampler) -> Generation:
        arrays, data, finite = self.values.whole(), self.asked.data, self.asked.near.finite
        result = Result(part(arrays, "value."))
        result.per_split = _relative(self.spread.value, data.diversity)
        missing = {
            key: "fewer than two images, or data that do not vary"
            for key, there in (("diversity", result.per_split), ("sharpness", result.per_image))
            if key not in there
        }
        if (again := result.per_image.get("re-encoding")) is not None:
            if self.asked.no_holes:
                missing["holes"] = self.asked.no_holes
            else:
                result.per_split["holes"] = holes(again, data.per_image["re-encoding"])
        for word, features in self.features.items():
            found, lacking = compare(word, data.features[word], features, self.how)
            result.per_split |= found
            missing |= lacking
        if finite is not None:
            distance, index = arrays["valid.distance"], arrays["valid.index"]
            result.per_image["NN valid"] = distance[: finite.how.distance_samples]
            result.per_split |= finite.numbers(torch.from_numpy(distance), torch.from_numpy(index))
        pictures = (arrays[key] for key in ("shown", "again", "near"))
        return Generation(sampler, self.asked.count, result, missing, *pictures)


def _relative(samples: float | None, data: float | None) -> dict[str, float]:
    return {"diversity": samples / data} if samples is not None and data else {}
