"""All that a trainer goes on from: weights, optimizers, generators, its place in the data."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from train.models import epoch_form, load_epoch_form, load_weights, saved_form


def optimizers(trainer: Any) -> dict[str, Optimizer]:
    """A Pythae trainer's optimizers by attribute."""
    return {name: one for name, one in vars(trainer).items() if isinstance(one, Optimizer)}


def schedulers(trainer: Any) -> dict[str, LRScheduler]:
    """A Pythae trainer's schedulers by attribute."""
    return {name: one for name, one in vars(trainer).items() if isinstance(one, LRScheduler)}


def random_state() -> dict[str, Any]:
    """Of Python's, numpy's and torch's generators, GPUs' included."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators where `random_state` found them.

    A GPU that was not there then, or is not now, keeps its own.
    """
    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_initialized():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)


class Best:
    """The best model so far: its score, its epoch, and its weights in tensors of their own."""

    def __init__(self, better: Callable[[float, float | None], bool]) -> None:
        """`better(new, old)`: whether a score beats another (None: there is none yet)."""
        self.better = better
        self.score: float | None = None
        self.epoch = 0
        self.weights: dict[str, Any] = {}

    def see(self, score: float, epoch: int, model: Any) -> None:
        """Take the model's weights in where `score` is the best yet."""
        if self.better(score, self.score):
            self.score, self.epoch = score, epoch
            self.weights = _copied(saved_form(model), self.weights)

    def state(self) -> dict[str, Any]:
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        self.score, self.epoch = state["score"], state["epoch"]
        self.weights = _on(state["weights"], device)


def _copied(form: dict[str, Any], into: dict[str, Any]) -> dict[str, Any]:
    """A copy of a tree of tensors; where `into` has a tensor of the same shape, in its place."""
    copy: dict[str, Any] = {}
    for name, value in form.items():
        there = into.get(name)
        if isinstance(value, dict):
            copy[name] = _copied(value, there or {})
        elif torch.is_tensor(there) and there.shape == value.shape:
            copy[name] = there.copy_(value)
        else:
            copy[name] = value.detach().clone()
    return copy


def _on(form: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    return {
        name: _on(value, device) if isinstance(value, dict) else value.to(device)
        for name, value in form.items()
    }


def trainer_state(trainer: Any) -> dict[str, Any]:
    """Everything of a trainer that its next step depends on."""
    return {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "model": saved_form(trainer.model),
        "gathered": epoch_form(trainer.model),
        "optimizers": {name: one.state_dict() for name, one in optimizers(trainer).items()},
        "schedulers": {name: one.state_dict() for name, one in schedulers(trainer).items()},
        "random": random_state(),
        "best": trainer.best.state(),
        "terms": trainer.terms.state(),
    }


def restore_trainer(trainer: Any, state: dict[str, Any]) -> None:
    """Put a trainer of the same run, its optimizers made, where `trainer_state` found one."""
    device = trainer.device
    trainer.epoch, trainer.step = state["epoch"], state["step"]
    load_weights(trainer.model, _on(state["model"], device))
    load_epoch_form(trainer.model, state["gathered"], device)
    for name, one in optimizers(trainer).items():
        one.load_state_dict(state["optimizers"][name])
    for name, one in schedulers(trainer).items():
        one.load_state_dict(state["schedulers"][name])
    trainer.best.restore(state["best"], device)
    trainer.terms.restore(state["terms"], device)
    set_random_state(state["random"])
