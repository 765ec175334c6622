"""`python -m train RUN.json --estimate`: what a run will cost on this machine, from timed steps."""

import itertools
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.datasets import Dataset
from study.identity import digest
from study.provenance import machine
from study.rundir import RunDirectory
from study.runs import Run
from train.checkpoint import Checkpoints
from train.execution import wait_for
from train.loader import BatchLoader
from train.run import prepared, run_identity, run_pipeline
from train.staging import amount
from train.trainer import Session

# Batches that are not timed (caches fill, algorithms are chosen), and those that are.
WARM_UP, TIMED = 3, 20
EVALUATED = 10
A_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Estimate:
    """Of a whole run: seconds, bytes, and what they are made of."""

    run: Run
    threads: int
    where: str
    steps: int
    eval_steps: int
    # Seconds of a training step, of an evaluation step, of writing a checkpoint.
    step: float
    eval_step: float
    write: float
    # Bytes of memory at the highest, of the GPU's (None: none is used), of files.
    memory: int
    gpu_memory: int | None
    checkpoint: int
    final: int

    @property
    def seconds(self) -> float:
        """Of the run from its first step to its last, checkpoints included."""
        epochs = self.run.trainer.num_epochs
        training = epochs * (self.steps * self.step + self.eval_steps * self.eval_step)
        return training + self._checkpoints(training) * self.write

    def _checkpoints(self, training: float) -> float:
        """How many are written."""
        every, epochs = self.run.config.engine.checkpoint_every, self.run.trainer.num_epochs
        return (
            (training / every.seconds if every.seconds else 0)
            + (epochs * self.steps / every.steps if every.steps else 0)
            + (epochs / every.epochs if every.epochs else 0)
        )

    def lines(self) -> list[str]:
        """The estimate as a person reads it."""
        epochs, batch = self.run.trainer.num_epochs, self.run.trainer.per_device_train_batch_size
        gpu = "" if self.gpu_memory is None else f", {amount(self.gpu_memory)} of the GPU's"
        return [
            f"machine  {self.where}, {self.threads} thread{'s' if self.threads > 1 else ''}",
            f"time     {spoken(self.seconds)}: {epochs} epochs of {self.steps:,} steps at "
            f"{1000 * self.step:.3g} ms ({batch / self.step:,.0f} images/s), evaluation "
            f"{spoken(self.eval_steps * self.eval_step)} an epoch, "
            f"{self.write:.2g} s a checkpoint",
            f"memory   {amount(self.memory)}{gpu}",
            f"disk     {amount(3 * self.checkpoint)} in training at the highest (the last two "
            f"checkpoints and one that is being written), "
            f"{amount(self.final)} when it is done (engine.keep: {self.run.config.engine.keep})",
        ]


def spoken(seconds: float) -> str:
    """`3 h 20 min`, `4 min 10 s`, `1.5 s`."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def estimate(run: Run, dataset: Dataset, beside: Path) -> Estimate:
    """Time steps of `run` in a temporary directory, which is gone afterwards.

    `beside`: where the run directory would be; files are tried on the disk that it would be on.
    """
    run, model = prepared(run, dataset)
    with scratch(beside) as folder:
        directory = RunDirectory(folder)
        checkpoints = Checkpoints(directory, digest(run_identity(run, dataset)))
        with run_pipeline(Session(run, directory, checkpoints), model, dataset) as pipeline:
            return _measured(pipeline.trainer, run, checkpoints)


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A folder for trying things in the nearest folder above `beside` that is there; gone
    afterwards, or, where this process is killed, at the next time a day later."""
    above = next(parent for parent in beside.absolute().parents if parent.is_dir())
    for left in above.glob(".estimate-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > A_DAY:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".estimate-", dir=above) as folder:
        yield Path(folder)


def _measured(trainer: Any, run: Run, checkpoints: Checkpoints) -> Estimate:
    device = torch.device(trainer.device)
    on_gpu = device.type == "cuda"
    evaluated = trainer.eval_loader is not None
    with trainer.ready():
        trainer.model.train()
        step = _seconds(trainer, trainer.train_loader, trainer.one_step, TIMED)
        eval_step = 0.0
        if evaluated:
            trainer.model.eval()
            eval_step = _seconds(trainer, trainer.eval_loader, trainer.one_evaluation, EVALUATED)
        trainer.best.see(0.0, 1, trainer.model)
        started = time.perf_counter()
        trainer.saving.write()
        write = time.perf_counter() - started
        checkpoint = checkpoints.latest.stat().st_size
        trainer.saving.finish()
    files = trainer.directory.path.rglob("*")
    name = torch.cuda.get_device_name(device) if on_gpu else machine(no_gpu=True)["processor"]
    return Estimate(
        run=run,
        threads=torch.get_num_threads(),
        where=name,
        steps=len(trainer.train_loader),
        eval_steps=len(trainer.eval_loader) if evaluated else 0,
        step=step,
        eval_step=eval_step,
        write=write,
        memory=peak_memory(),
        gpu_memory=torch.cuda.max_memory_reserved(device) if on_gpu else None,
        checkpoint=checkpoint,
        final=sum(file.stat().st_size for file in files if file.is_file()),
    )


def peak_memory() -> int:
    """Bytes of this process at the highest; they hold what of the data's pages was touched.

    Linux's own count: getrusage's begins at that of the process which started this one.
    """
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        words = next(line for line in lines if line.startswith("VmHWM:")).split()
        return 1024 * int(words[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _seconds(
    trainer: Any, loader: BatchLoader, work: Callable[[Any, int], None], timed: int
) -> float:
    """Mean seconds of `work` on a batch, drawing it included; epochs follow each other."""
    device = torch.device(trainer.device)
    batches = itertools.chain.from_iterable(loader.batches(epoch) for epoch in itertools.count(1))
    for inputs in itertools.islice(batches, WARM_UP):
        work(inputs, 1)
    wait_for(device)
    started = time.perf_counter()
    for inputs in itertools.islice(batches, timed):
        work(inputs, 1)
        # Nobody wants a checkpoint of this.
        trainer.stop.act()
    wait_for(device)
    return (time.perf_counter() - started) / timed
