"""Processes that train in turns: one runs a few steps while the others sleep on their pipes."""

import contextlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from pythae.trainers.training_callbacks import TrainingCallback

from study.progress import progress
from train.execution import wait_for


class Turns(TrainingCallback):
    """Between two steps of a training, waits for its turn; tells the seconds of each one's steps.

    A turn is one step that is not counted, after which caches and threads are warm, and as many
    as were asked for, within one epoch: where an epoch ends before the turn does, the turn begins
    anew with the next.
    """

    def __init__(self, token: Connection, device: torch.device) -> None:
        self.token, self.device = token, device
        self.steps = 0

    def on_epoch_begin(self, training_config: Any = None, **kwargs: Any) -> None:
        if not self.steps:
            self.steps = self.token.recv()
        self.left = self.steps + 1

    def on_train_step_end(self, training_config: Any = None, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == self.steps:
            wait_for(self.device)
            self.started = time.perf_counter()
        elif self.left == 0:
            wait_for(self.device)
            self.token.send(time.perf_counter() - self.started)
            self.steps = self.token.recv()
            self.left = self.steps + 1


# Trains without end: what, a folder of its own to write into, and where its turns come from.
Train = Callable[[Any, Path, Connection], None]


class Rival:
    """A training in a process of its own, which moves in its turns only (once it is set up)."""

    def __init__(self, train: Train, job: Any, out: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.token, there = context.Pipe()
        self.process = context.Process(target=_trains, args=(train, job, out, there))
        self.process.start()
        there.close()

    def turn(self, steps: int) -> float:
        """Seconds of `steps` steps; RuntimeError, with what was raised there, if it failed."""
        with contextlib.suppress(BrokenPipeError):
            self.token.send(steps)
        try:
            answer = self.token.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise RuntimeError(f"a rival ended, status {self.process.exitcode}") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def end(self) -> None:
        """Nothing of the process is left."""
        # The next turn that it waits for is an EOFError, and unwinds the training.
        self.token.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def steps_that_take(wanted: float, rival: Rival, most: int) -> int:
    """How many steps `rival` does in about `wanted` seconds; from 1 to `most`."""
    steps = 1
    while (seconds := rival.turn(steps)) < wanted / 2 and steps < most:
        steps = min(most, 2 * steps)
    return max(1, round(min(most, steps * wanted / seconds)))


def take_turns(
    name: str, turns: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each one's turns (what it returns), one in each round; each round begins with
    another of them."""
    seconds: dict[str, list[float]] = {rival: [] for rival in turns}
    order = list(turns)
    with progress(rounds + 1, name, "round") as bar:
        for _ in range(rounds + 1):
            for rival in order:
                seconds[rival].append(turns[rival]())
            order = order[1:] + order[:1]
            bar.update(1)
    # In the first, heaps still grow.
    return {rival: found[1:] for rival, found in seconds.items()}


def _trains(train: Train, job: Any, out: Path, token: Connection) -> None:
    # Stock Pythae prints bars and more.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    # The token closed, by this end or the other, is the end in any case.
    with contextlib.suppress(EOFError, OSError), token:
        try:
            train(job, out, token)
            raise RuntimeError("the training has ended by itself")
        except Exception:
            token.send(traceback.format_exc())
        while True:  # until it is read
            token.recv()
