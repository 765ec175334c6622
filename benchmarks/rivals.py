"""What `benchmarks.train` measures: `ours`, `stock` and `bare`, each of which trains in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.pipelines import TrainingPipeline
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.parts import also_call
from benchmarks.turns import Turns
from study.datasets import open_dataset
from study.provenance import machine, package_versions
from study.runs import load_run
from train.execution import device_of, prepare_networks, settings, wait_for
from train.models import build_model
from train.run import train_run


@dataclass(frozen=True)
class Job:
    """What all three train, in a form that goes to another process."""

    run: Path
    data: Path
    overrides: dict[str, Any]


def opened(job: Job) -> tuple[Any, Any]:
    run = load_run(job.run, job.overrides)
    dataset = open_dataset(job.data, run.config.dataset)
    return run.with_shape(dataset.shape), dataset


def ours(job: Job, out: Path, token: Connection) -> None:
    """`train_run`."""
    run, dataset = opened(job)
    also_call(Turns(token, device_of(run.trainer)))
    train_run(run, dataset, out)


def stock(job: Job, out: Path, token: Connection) -> None:
    """Pythae's `TrainingPipeline`."""
    run, dataset = opened(job)
    run.trainer.output_dir = str(out)
    # The floats that it makes of `npz / 255.0`.
    images = np.divide(dataset.images("train"), 255, dtype=np.float32)
    pipeline = TrainingPipeline(model=build_model(run), training_config=run.trainer)
    pipeline(images, callbacks=[Turns(token, device_of(run.trainer))])


def bare(job: Job, out: Path, token: Connection) -> None:
    """Steps on one batch; networks and torch's settings as `engine` has them."""
    run, dataset = opened(job)
    device, engine = device_of(run.trainer), run.config.engine
    images = dataset.images("train")[: run.trainer.per_device_train_batch_size]
    batch = {"data": (torch.from_numpy(images.astype(np.float32)) / 255).to(device)}
    turns = Turns(token, device)
    with settings(engine, device):
        model = _model(run, device)
        prepare_networks(model, engine, device)
        step = _bare_step(model, run.trainer)
        turns.on_epoch_begin()
        while True:
            step(model(batch))
            turns.on_train_step_end()


def _model(run: Any, device: torch.device) -> Any:
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


def flops(job: Job) -> float:
    """Floating-point operations of an image, forward and backward: multiplications and additions
    of convolutions and matrix products, as torch counts them."""
    run, _ = opened(job)
    size = run.trainer.per_device_train_batch_size
    model = _model(run, torch.device("cpu"))
    step = _bare_step(model, run.trainer)
    batch = {"data": torch.rand(size, *run.model.input_dim)}
    with FlopCounterMode(display=False) as counter:
        step(model(batch))
    return counter.get_total_flops() / size


def peak(job: Job) -> float:
    """Operations a second of a large matrix product: bf16 on a GPU, float32 on a CPU."""
    device = device_of(opened(job)[0].trainer)
    side, dtype, times, tries = 8192, torch.bfloat16, 50, 5
    if device.type == "cpu":
        # Short tries: between two interruptions.
        side, dtype, times, tries = 1024, torch.float32, 1, 100
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(a, b)
        wait_for(device)
        best = min(best, (time.perf_counter() - started) / times)
    return 2 * side**3 / best


def about(job: Job) -> dict[str, Any]:
    run = opened(job)[0]
    return {"machine": machine(run.trainer.no_cuda), "versions": package_versions()}
