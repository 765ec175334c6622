"""What `benchmarks.train` measures: `ours`, `stock` and `bare` each in a process of its own."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.pipelines import TrainingPipeline
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from torch.utils.flop_counter import FlopCounterMode

from study.datasets import open_dataset
from study.provenance import machine, package_versions
from study.runs import load_run
from train.execution import prepare_networks, settings
from train.models import build_model
from train.run import train_run


@dataclass(frozen=True)
class Job:
    """One measurement, in a form that goes to another process."""

    run: Path
    data: Path
    overrides: dict[str, Any]
    epochs: int


# What is measured: a job and a folder of its own to write into -> a figure or several.
Measure = Callable[[Job, Path], Any]


def _device(run: Any) -> str:
    return "cuda" if torch.cuda.is_available() and not run.trainer.no_cuda else "cpu"


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def opened(job: Job) -> tuple[Any, Any]:
    run = load_run(job.run, job.overrides)
    dataset = open_dataset(job.data, run.config.dataset)
    return run.with_shape(dataset.shape), dataset


class Clock(TrainingCallback):
    """Seconds of each epoch's `steps`, from the epoch's begin to the end of the last of them."""

    def __init__(self, steps: int, device: str) -> None:
        self.steps, self.device = steps, device
        self.seconds: list[float] = []

    def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
        _wait_for(self.device)
        self.done, self.started = 0, time.perf_counter()

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self.done += 1
        if self.done == self.steps:
            _wait_for(self.device)
            self.seconds.append(time.perf_counter() - self.started)


def ours(job: Job, out: Path) -> list[float]:
    """Seconds of each epoch's steps in `train_run`."""
    run, dataset = opened(job)
    clock = Clock(_steps(run, dataset), _device(run))
    make = CallbackHandler.__init__

    # Beside the callbacks of a run, which `train_run` alone chooses.
    def with_clock(self: Any, callbacks: Iterable[Any], model: Any) -> None:
        make(self, callbacks=[*callbacks, clock], model=model)

    CallbackHandler.__init__ = with_clock
    train_run(run, dataset, out)
    return clock.seconds


def stock(job: Job, out: Path) -> list[float]:
    """Seconds of each epoch's steps in Pythae's `TrainingPipeline`."""
    run, dataset = opened(job)
    clock = Clock(_steps(run, dataset), _device(run))
    run.trainer.output_dir = str(out)
    # The floats that it makes of `npz / 255.0`.
    images = np.divide(dataset.images("train"), 255, dtype=np.float32)
    pipeline = TrainingPipeline(model=build_model(run), training_config=run.trainer)
    pipeline(images, callbacks=[clock])
    return clock.seconds


def bare(job: Job, out: Path) -> list[float]:
    """Seconds of as many steps on one batch, for each epoch; networks and torch's settings as
    `engine` has them."""
    run, dataset = opened(job)
    device, engine = _device(run), run.config.engine
    images = dataset.images("train")[: run.trainer.per_device_train_batch_size]
    batch = {"data": (torch.from_numpy(images.astype(np.float32)) / 255).to(device)}
    seconds = []
    with settings(engine, torch.device(device)):
        model = _model(run, device)
        prepare_networks(model, engine, torch.device(device))
        step = _bare_step(model, run.trainer)
        for _ in range(job.epochs):
            _wait_for(device)
            started = time.perf_counter()
            for _ in range(_steps(run, dataset)):
                step(model(batch))
            _wait_for(device)
            seconds.append(time.perf_counter() - started)
    return seconds


def _model(run: Any, device: str) -> Any:
    model = build_model(run).to(device).train()
    model.device = device
    return model


def _bare_step(model: Any, trainer: Any) -> Callable[[Any], None]:
    """What makes an optimizer's step, or a VAEGAN's three, of the model's output."""
    if not hasattr(model, "discriminator"):
        optimizer = getattr(torch.optim, trainer.optimizer_cls)(
            model.parameters(), lr=trainer.learning_rate
        )

        def step(output: Any) -> None:
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()

        return step

    optimizers = {
        part: getattr(torch.optim, getattr(trainer, f"{part}_optimizer_cls"))(
            getattr(model, part).parameters(), lr=getattr(trainer, f"{part}_learning_rate")
        )
        for part in ("encoder", "decoder", "discriminator")
    }

    def step_all(output: Any) -> None:
        for part, optimizer in optimizers.items():
            optimizer.zero_grad()
            output[f"{part}_loss"].backward(retain_graph=part != "discriminator")
        for optimizer in optimizers.values():
            optimizer.step()

    return step_all


def _steps(run: Any, dataset: Any) -> int:
    return -(-dataset.count("train") // run.trainer.per_device_train_batch_size)


def flops(job: Job) -> float:
    """Floating-point operations of an image, forward and backward: multiplications and additions
    of convolutions and matrix products, as torch counts them."""
    run, _ = opened(job)
    size = run.trainer.per_device_train_batch_size
    model = _model(run, "cpu")
    step = _bare_step(model, run.trainer)
    batch = {"data": torch.rand(size, *run.model.input_dim)}
    with FlopCounterMode(display=False) as counter:
        step(model(batch))
    return counter.get_total_flops() / size


def peak(job: Job) -> float:
    """Operations a second of a large matrix product: bf16 on a GPU, float32 on a CPU."""
    device = _device(opened(job)[0])
    side, dtype, times = (8192, torch.bfloat16, 50)
    if device == "cpu":
        side, dtype, times = (1024, torch.float32, 5)
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        _wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(a, b)
        _wait_for(device)
        best = min(best, (time.perf_counter() - started) / times)
    return 2 * side**3 / best


def about(job: Job) -> dict[str, Any]:
    run = opened(job)[0]
    return {"machine": machine(run.trainer.no_cuda), "versions": package_versions()}


def quietly(measure: Measure, job: Job, out: Path) -> Any:
    """`measure`, printing nothing: stock Pythae prints bars and more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return measure(job, out)
