"""The measuring of a made model, in the test's own process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.features import Features
from evaluate.measure import Meter
from evaluate.partial import Partial
from evaluate.perceptual import Perceptual
from evaluate.work import Measurement, Networks, Work
from study.datasets import Dataset
from study.schema import Evaluation, FiniteData

# Every number there is but LPIPS's, in little.
HOW = Evaluation(
    split="eval",
    lpips=[],
    pictures=4,
    samples=20,
    samplers=["prior", "mixture"],
    nll_samples=5,
    features=["classifier"],
    neighbours=2,
    feature_images=12,
    finite=FiniteData(samples=30, distance_samples=10),
)
DIMENSIONS = 6


class Counting:
    """Features that a fixed projection gives; counts the images that it was asked about."""

    def __init__(self, pixels: int, dimensions: int = DIMENSIONS) -> None:
        draws = np.random.default_rng(0).normal(size=(pixels, dimensions)) / pixels**0.5
        self.matrix = torch.from_numpy(draws).float()
        self.seen = 0

    def features(self) -> dict[str, Features]:
        about = {"weights": "made"}
        return {"classifier": Features("classifier", self.matrix.shape[1], about, self._extract)}

    def _extract(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return x.flatten(1) @ self.matrix


class Counts:
    """How many images of the data, and samples, a `Meter` measured."""

    def __init__(self, monkeypatch: Any) -> None:
        self.data = self.samples = 0
        measure = Meter.measure

        def counted(meter: Meter, x: torch.Tensor, data: bool = False) -> Any:
            if data:
                self.data += len(x)
            else:
                self.samples += len(x)
            return measure(meter, x, data)

        monkeypatch.setattr(Meter, "measure", counted)


def work(
    latents: Any,
    dataset: Dataset,
    features: dict[str, Features] | None = None,
    how: Evaluation = HOW,
    **more: Any,
) -> Work:
    networks = Networks(Perceptual(), features or {}, {})
    return Work(latents, how, dataset, how.split, networks, 3, "a test", **more)


def numbers(done: Measurement) -> dict[str, Any]:
    """All that came out, arrays and numbers by name."""
    return dict(_named(done))


def _named(done: Measurement) -> Iterator[tuple[str, Any]]:
    results = {"data": (done.result, done.result.missing)}
    results |= {made.sampler.key: (made.result, made.missing) for made in done.generations}
    for of, (result, missing) in results.items():
        for kind, found in (
            ("image", result.per_image),
            ("split", result.per_split),
            ("missing", missing),
        ):
            yield from ((f"{of}/{kind}/{key}", value) for key, value in found.items())
        yield f"{of}/mean_image_mse", result.mean_image_mse
    for word, kept in done.result.features.items():
        yield f"{word}/features", kept.features.numpy()
        yield f"{word}/covariance", kept.moments.covariance.numpy()
    yield from ((f"pictures/{key}", value) for key, value in done.pictures.items())
    if done.latents:
        yield from ((f"latents/{key}", value) for key, value in done.latents.arrays.items())
        yield "latents", done.latents.about


def bits(done: Measurement) -> dict[str, Any]:
    """`numbers` in which two arrays are equal where every bit is."""
    found = numbers(done)
    return {
        k: (v.dtype.str, v.shape, v.tobytes()) if hasattr(v, "dtype") else v
        for k, v in found.items()
    }


class Cut(Exception):
    """What stops an evaluation here."""


class CutShort(Partial):
    """Blocks that are kept, until so many are: then the evaluation ends."""

    def __init__(self, folder: Path, of: dict[str, Any], after: int) -> None:
        super().__init__(folder, of)
        self.left = after

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        if not self.left:
            raise Cut(name)
        super().put(name, arrays)
        self.left -= 1
