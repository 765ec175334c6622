"""Stock Pythae, handed our order of images: what a run of ours must equal bit for bit.

Upstream shuffles by the generator that its models draw from, and evaluates with draws of that
generator, too. Both are taken out of its hands; all else is its own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pythae.data.datasets import collate_dataset_output
from pythae.pipelines import TrainingPipeline, training
from pythae.trainers.trainer_utils import set_seed
from torch.utils.data import DataLoader

from study.datasets import Dataset
from study.runs import Run
from train.loader import epoch_order
from train.models import build_model


class InOrder:
    """A batch sampler: the batches of epoch 1, 2, ... as it is asked again and again."""

    def __init__(self, count: int, size: int, seed: int | None) -> None:
        self.count, self.size, self.seed = count, size, seed
        # Upstream first asks for one batch to try the model on.
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = (
            np.arange(self.count)
            if self.seed is None
            else epoch_order(self.seed, max(self.epoch, 1), self.count)
        )
        self.epoch += 1
        return (list(order[i : i + self.size]) for i in range(0, self.count, self.size))


def _loader(dataset: Any, size: int, seed: int | None) -> DataLoader:
    return DataLoader(
        dataset,
        batch_sampler=InOrder(len(dataset), size, seed),
        collate_fn=collate_dataset_output,
        generator=torch.Generator(),
    )


def in_our_order(cls: type, stream: int) -> type:
    """A trainer class of Pythae's with our order; evaluation draws from the seed `stream`."""

    class InOurOrder(cls):
        def get_train_dataloader(self, dataset: Any) -> DataLoader:
            config = self.training_config
            return _loader(dataset, config.per_device_train_batch_size, config.seed)

        def get_eval_dataloader(self, dataset: Any) -> DataLoader:
            return _loader(dataset, self.training_config.per_device_eval_batch_size, None)

        def eval_step(self, epoch: int) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream)
                return super().eval_step(epoch)

    return InOurOrder


TRAINERS = (
    "BaseTrainer",
    "AdversarialTrainer",
    "CoupledOptimizerTrainer",
    "CoupledOptimizerAdversarialTrainer",
)


def train_stock(run: Run, dataset: Dataset, out: Any, *callbacks: Any) -> Any:
    """Pythae's trainer after its pipeline trained `run` on `dataset`, whose shape `run` has."""
    set_seed(run.seed)
    model = build_model(run)
    run.trainer.output_dir = str(out)
    floats = [np.array(dataset.images(split)) / 255.0 for split in ("train", "eval")]
    stream = int(np.random.SeedSequence(run.seed, spawn_key=(1,)).generate_state(1)[0])
    with pytest.MonkeyPatch.context() as patch:
        for name in TRAINERS:
            patch.setattr(training, name, in_our_order(getattr(training, name), stream))
        pipeline = TrainingPipeline(model=model, training_config=run.trainer)
        pipeline(*floats, callbacks=list(callbacks) or None)
    return pipeline.trainer
