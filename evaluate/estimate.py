"""What measuring a run will cost on this machine, from a few of its images and samples.

Each part of `evaluate.work` is timed with the code that does it, on little, and scaled by what its
cost is proportional to. The model is not trained: no cost depends on what it has learnt, but for
the iterations of a mixture's fit and the steps that a fit's patience spares.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.available import measuring_device, networks_for
from evaluate.features import Features
from evaluate.features.classifier import classifier_features, train_classifier
from evaluate.features.recipe import RECIPE
from evaluate.features.store import read_classifier
from evaluate.features.targets import Targets, find_targets
from evaluate.latent_space import Encoder, is_flat
from evaluate.measure import Meter, batches, measure
from evaluate.metrics.sharpness import sharpness
from evaluate.partial import BLOCK, Partial
from evaluate.reach import Neighbours, ValidImages
from evaluate.sets import FeatureSet, compare
from evaluate.work import Networks
from study.datasets import Dataset
from study.runs import Run
from study.schema import Evaluation
from train.execution import wait_for
from train.latents import latents_of
from train.latents.base import Latents, Sampler
from train.latents.draws import Blocks
from train.latents.fitted import MOST_FOR_MIXTURE
from train.latents.learning import watched
from train.run import prepared

# Images that are reconstructed, samples that are drawn and measured, images that samplers are
# fitted to, images that samples are compared with, and steps of a fit.
IMAGES, SAMPLES, FITTED_TO, COMPARED, STEPS = 256, Blocks.SIZE, 2048, 4096, 20
_BATCH = 64


@dataclass(frozen=True)
class EvaluationEstimate:
    """Seconds of a run's evaluation by what they go into, and bytes of what it writes."""

    reconstructions: float
    # Latents of the split and of the first training images, where they are asked for.
    latents: float
    # Latents of the training split, and what is fitted to them.
    samplers: float
    samples: float
    # Of samples from images, and of sets of features.
    distances: float
    # Of the data set's classifier, which the first evaluation of all trains; 0 where it is there.
    classifier: float
    # Pictures drawn as PNG apart.
    files: int
    # Metrics that cannot be measured here, and so are not in it.
    missing: list[str]

    @property
    def seconds(self) -> float:
        """Of one run, the classifier apart."""
        parts = self.reconstructions, self.latents, self.samplers, self.samples, self.distances
        return sum(parts)


def estimate_evaluation(
    run: Run, dataset: Dataset, split: str, weights: Path | None
) -> EvaluationEstimate:
    """Time a little of the evaluation of `run` on a split. Nothing is written."""
    run, model = prepared(run, dataset)
    device = measuring_device(run.trainer)
    networks, classifier = _networks(run.config.evaluation, dataset, weights, device)
    latents = latents_of(model.to(device).eval())
    with torch.inference_mode():
        return _Timed(run, dataset, split, networks, latents).estimate(classifier)


def _clock(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of `work`, done on the GPU, too."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def _networks(
    how: Evaluation, dataset: Dataset, weights: Path | None, device: torch.device
) -> tuple[Networks, float]:
    """Those of an evaluation, and seconds of training the classifier where there is none yet."""
    targets = find_targets(dataset) if "classifier" in how.features else ""
    if isinstance(targets, str) or read_classifier(dataset, targets) is not None:
        return networks_for(how, dataset, weights, device), 0.0
    others = [word for word in how.features if word != "classifier"]
    found = networks_for(how.model_copy(update={"features": others}), dataset, weights, device)
    made, seconds = _classifier(dataset, targets, device)
    return dataclasses.replace(found, features=found.features | {"classifier": made}), seconds


def _classifier(dataset: Dataset, targets: Targets, device: torch.device) -> tuple[Features, float]:
    """A classifier that is hardly trained, and seconds of training one by the whole recipe."""
    images, nets = dataset.images("train"), []

    def train(steps: int) -> None:
        recipe = dataclasses.replace(RECIPE, steps=steps)
        nets.append(train_classifier(images, targets, recipe, device, "time the classifier")[0])

    # What is there beside the steps is in both.
    few, more = (_clock(partial(train, steps), device) for steps in (STEPS, 2 * STEPS))
    extract = partial(classifier_features, nets[-1])
    seconds = more + max(0.0, more - few) / STEPS * (RECIPE.steps - 2 * STEPS)
    return Features("classifier", RECIPE.dimensions, {}, extract), seconds


class _Timed:
    """One run's evaluation in parts."""

    def __init__(
        self, run: Run, dataset: Dataset, split: str, networks: Networks, latents: Latents
    ) -> None:
        self.how, self.dataset, self.networks = run.config.evaluation, dataset, networks
        self.latents, self.device = latents, latents.device
        self.images = dataset.images(split)[: self.how.images]
        self.training = dataset.images("train")
        self.noise = run.config.engine.latent_noise
        self.seed = run.seed

    def estimate(self, classifier: float) -> EvaluationEstimate:
        reconstructions, data = self._reconstructions()
        of_latents, latent_files = self._latents()
        seconds, samplers = self._samplers()
        samples, made = self._samples(samplers)
        values = len(data) * len(self.images) + len(made) * len(samplers) * self.how.samples
        pictures = (2 + 3 * len(samplers)) * self.how.pictures * self.images[0].size
        return EvaluationEstimate(
            reconstructions=reconstructions,
            latents=of_latents,
            samplers=seconds,
            samples=samples,
            distances=len(samplers) * (self._neighbours() + self._sets()),
            classifier=classifier,
            files=8 * values + pictures + latent_files,
            missing=sorted(self.networks.missing),
        )

    def _meter(self) -> Meter:
        networks = self.networks
        return Meter(
            self.latents, self.how, networks.lpips, self.seed, networks.features, self.noise
        )

    def _reconstructions(self) -> tuple[float, list[str]]:
        """Seconds of the split, and which values each image has."""
        shown, keys = self.images[:IMAGES], []

        def work(images: np.ndarray) -> None:
            keys[:] = measure(self._meter(), images, _BATCH, "time an evaluation").per_image

        work(shown[:_BATCH])
        return _clock(lambda: work(shown), self.device) * len(self.images) / len(shown), keys

    def _latents(self) -> tuple[float, int]:
        """Seconds of taking the latents of images, and bytes that are written of them."""
        how = self.how.latents
        if how is None or not is_flat(self.latents, self.dataset.shape):
            return 0.0, 0
        encoder = Encoder(self.latents, self.seed, _BATCH, "time an evaluation", Partial())
        drawn = min(how.training_images, len(self.training))
        dimensions = encoder.encode(self.images[:_BATCH]).mean.shape[1]
        seconds = 0.0
        for work, images, count in (
            (encoder.encode, self.images, len(self.images)),
            (encoder.draw_training, self.training, drawn),
        ):
            shown = images[: min(count, IMAGES)]
            seconds += _clock(partial(work, shown), self.device) * count / len(shown)
        written = len(self.images) * (2 * 4 * dimensions + 8) + drawn * 4 * dimensions
        pictured = dimensions * len(how.traverse) + (dimensions + 2) * how.zeroed
        return seconds, written + pictured * self.images[0].size

    def _samplers(self) -> tuple[float, list[Sampler]]:
        """Seconds of a pass over the training split and of the fits, as far as there are any."""
        passes: list[float] = []

        def training(images: np.ndarray) -> Iterator[torch.Tensor]:
            wait_for(self.device)
            started = time.perf_counter()
            for _, x in batches(images, _BATCH, self.device):
                yield x
            wait_for(self.device)
            passes.append(time.perf_counter() - started)

        found: list[Sampler] = []

        def work(images: np.ndarray) -> None:
            found[:] = self.latents.samplers(partial(training, images), self.how.samplers)

        shown = self.training[:FITTED_TO]
        with watched(2):
            work(shown[: FITTED_TO // 4])
        passes.clear()
        with watched(STEPS) as watch:
            seconds = _clock(lambda: work(shown), self.device)
        # What is neither the pass nor a network's steps is a mixture's fit, where there is one.
        rest = max(0.0, seconds - sum(passes) - watch.spent)
        of_all = len(self.training) / len(shown)
        of_fitted = min(len(self.training), MOST_FOR_MIXTURE) / len(shown)
        return sum(passes) * of_all + watch.whole + rest * of_fitted, found

    def _samples(self, samplers: list[Sampler]) -> tuple[float, list[str]]:
        """Seconds of drawing and measuring those of all samplers, and which values each has."""
        drawing = sum(self._drawing(sampler) for sampler in samplers) * self._draws()
        x = torch.rand(_BATCH, *self.dataset.shape, device=self.device)
        keys: list[str] = []

        def work(times: int) -> None:
            meter = self._meter()
            for _ in range(times):
                keys[:] = meter.measure(x).values
                sharpness(x)
                for features in meter.features.values():
                    features.extract(x).cpu()

        work(1)
        times = SAMPLES // _BATCH
        each = _clock(lambda: work(times), self.device) / (times * _BATCH)
        return drawing + each * self.how.samples * len(samplers), [*keys, "sharpness", "near", "at"]

    def _draws(self) -> int:
        """How many samples a sampler is asked for."""
        finite = self.how.finite
        return max(self.how.samples, ValidImages(self.dataset, finite).draws if finite else 0)

    def _drawing(self, sampler: Sampler) -> float:
        """Seconds of drawing one."""

        def work() -> None:
            for _ in range(SAMPLES // _BATCH):
                self.latents.decode(sampler.draw(_BATCH))

        work()
        return _clock(work, self.device) / SAMPLES

    def _neighbours(self) -> float:
        """Seconds of looking for the nearest images of one sampler's samples."""
        count = min(BLOCK, self._draws())
        samples = torch.rand(count, *self.dataset.shape, device=self.device)
        near = Neighbours(self.training[:COMPARED], self.training[:1])
        near.distances(samples)
        pair = _clock(lambda: near.distances(samples), self.device) / (count * len(near.data))
        pairs = self.how.samples * (len(self.images) + len(self.training))
        if self.how.finite:
            every = ValidImages(self.dataset, self.how.finite).configurations
            pairs += self._draws() * every
        return pair * pairs

    def _sets(self) -> float:
        """Seconds of comparing one sampler's samples with the data in features."""
        seconds = 0.0
        for word, features in self.networks.features.items():
            sets = []
            for count in (len(self.images), self.how.samples):
                sets.append(FeatureSet(self.how.feature_images))
                # float32 as networks give them; what they hold changes no cost.
                sets[-1].add(torch.rand(count, features.dimensions))
            seconds += _clock(partial(compare, word, *sets, self.how), self.device)
        return seconds
