"""`history.jsonl`: every loss term of every epoch, averaged over images, and its diagnostics.

Pythae's own epoch loss is a mean of batch means, in which a short last batch weighs too much,
and holds the total alone. A forward hook sees each batch's terms and its size instead.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pythae.trainers.training_callbacks import TrainingCallback

from train.diagnostics import Diagnostic, diagnostics


class LossMeter:
    """Sums of loss terms, weighted by batch size; they stay on the device until asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.images = 0

    def add(self, output: dict[str, Any], batch_size: int) -> None:
        """Take in the losses and other scalar tensors of a model's output (means over a batch).

        Losses of importance-weighted models come as one value a draw, and are averaged over them.
        """
        self.images += batch_size
        for name, value in output.items():
            if torch.is_tensor(value) and (value.ndim == 0 or name.endswith("loss")):
                term = value.detach().double().mean() * batch_size
                self.sums[name] = self.sums[name] + term if name in self.sums else term

    def means(self) -> dict[str, float]:
        """Mean of each term over the images seen; starts anew."""
        means = {name: float(total) / self.images for name, total in self.sums.items()}
        self.sums, self.images = {}, 0
        return means


class HistoryCallback(TrainingCallback):
    """Writes one line of JSON for each epoch: epoch, train and eval terms, rates, seconds.

    `seen` is told each line when it is written; `rates`, where set, gives the learning rates.
    """

    def __init__(
        self, path: Path, seen: Callable[[dict[str, Any]], object] = lambda line: None
    ) -> None:
        self.path = Path(path)
        self.seen = seen
        self.rates: Callable[[], dict[str, float]] = dict
        self.rates_now: dict[str, float] = {}
        self.meters = {True: LossMeter(), False: LossMeter()}
        self.diagnostics: dict[bool, list[Diagnostic]] = {True: [], False: []}
        self.hooks: list[Any] = []
        self.started = 0.0

    def on_train_begin(self, training_config: Any, model: Any = None, **kwargs: Any) -> None:
        meters = self.meters
        observers, hooks = diagnostics(model)
        self.diagnostics = observers

        # A plain function: the trainer deep-copies the model with its hooks at each improvement,
        # and copies of a function are the function itself.
        def see(module: Any, arguments: tuple, output: dict[str, Any]) -> None:
            # FactorVAE's losses are means over one half of a batch, whose places it names.
            images = output.get("recon_x_indices", arguments[0]["data"])
            meters[module.training].add(output, len(images))
            for observer in observers[module.training]:
                observer.add(arguments[0], output)

        self.hooks = [*hooks, model.register_forward_hook(see)]

    def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()
        # Before the epoch: its scheduler has stepped when `on_log` comes.
        self.rates_now = self.rates()

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        line = {
            "epoch": kwargs["global_step"],
            "train": self._terms(True),
            "eval": self._terms(False),
            **self.rates_now,
            "seconds": round(time.perf_counter() - self.started, 3),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.seen(line)

    def _terms(self, training: bool) -> dict[str, float]:
        terms = self.meters[training].means()
        for observer in self.diagnostics[training]:
            terms |= observer.take()
        return terms

    def on_train_end(self, training_config: Any, **kwargs: Any) -> None:
        for hook in self.hooks:
            hook.remove()


def learning_rates(trainer: Any) -> dict[str, float]:
    """`learning_rate` of a Pythae trainer; of one with several optimizers one for each part,
    `learning_rate_encoder` for `encoder_optimizer`."""
    return {
        f"learning_rate_{name.removesuffix('optimizer')}".rstrip("_"): part.param_groups[0]["lr"]
        for name, part in vars(trainer).items()
        if isinstance(part, torch.optim.Optimizer)
    }


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs of a `history.jsonl`, in order; a last line that was cut short is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]
