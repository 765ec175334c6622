"""Pythae's trainers with an engine of ours: they stop anywhere and go on bit for bit.

Optimizers, schedulers, what a step does with a model's losses and what callbacks are told stay
Pythae's, whichever of its four trainers it is. The loop around them is this one mixin: batches
come from `train.loader`, nothing waits for the device at each step, the state of the run goes
into checkpoints, and the best model is chosen as `engine.select` says.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pythae.models.base.base_utils import ModelOutput
from pythae.trainers.training_callbacks import CallbackHandler

from study.progress import say
from study.pythae_json import optimized_parts
from study.rundir import RunDirectory
from study.runs import Run
from study.stopping import deferred
from train.checkpoint import Checkpoints
from train.diagnostics import diagnostics
from train.execution import prepare_networks
from train.history import EpochTerms, learning_rates
from train.loader import BatchLoader
from train.not_finite import check_score, check_terms, refused_batch, refuses_nan
from train.saving import Saving
from train.selection import Selection
from train.state import Best, optimizers, random_state, set_random_state

# Steps between two looks at whether all losses were finite: each look waits for the device.
LOOK_EVERY = 128


@dataclass
class Session:
    """What a trainer needs beside Pythae's arguments."""

    run: Run
    directory: RunDirectory
    checkpoints: Checkpoints
    # The state to go on from; None: from the beginning.
    resumed: dict[str, Any] | None = None
    # Is told each line of the history when it is written.
    seen: Callable[[dict[str, Any]], object] = lambda line: None
    # Kept in checkpoints beside the trainer's state.
    kept: dict[str, Any] = field(default_factory=dict)


class EngineMixin:
    """Any of Pythae's trainers, in a run directory."""

    def __init__(self, *, session: Session, **arguments: Any) -> None:
        self.session = session
        self.engine = session.run.config.engine
        self.directory = session.directory
        super().__init__(**arguments)
        prepare_networks(self.model, self.engine, torch.device(self.device))
        # Where the next step is: epochs count from 1, steps from 0. All steps of an epoch done
        # means that it is to be evaluated.
        self.epoch, self.step = 1, 0
        self.parts = optimized_parts(type(self.training_config))
        self.loaders = {"train": self.train_loader, "eval": self.eval_loader}

    # What Pythae's trainers call in their own code.

    def get_train_dataloader(self, train_dataset: Any) -> BatchLoader:
        config, seed = self.training_config, self.session.run.seed
        size, workers = config.per_device_train_batch_size, config.train_dataloader_num_workers
        loader = BatchLoader(train_dataset, size, self.device, seed, workers=workers)
        if loader.way != "direct":
            say(f"{self.directory.path}: {loader.describe()}")
        return loader

    def get_eval_dataloader(self, eval_dataset: Any) -> BatchLoader:
        config = self.training_config
        size, workers = config.per_device_eval_batch_size, config.eval_dataloader_num_workers
        return BatchLoader(eval_dataset, size, self.device, None, workers=workers)

    def _set_output_dir(self) -> None:
        self.training_dir = str(self.directory.path)
        self._training_signature = self.model_name

    def _setup_callbacks(self) -> None:
        # Upstream adds its own bar (one an epoch) and its console printer here.
        self.callback_handler = CallbackHandler(callbacks=self.callbacks, model=self.model)

    # The loop.

    def train(self, log_output_dir: str | None = None) -> None:
        """Train from the session's state, or from the beginning, until the run is done.

        Stopped or KeyboardInterrupt, with a checkpoint written, where a signal asks for it;
        RunFailed where a loss is not finite.
        """
        with self.ready():
            told = {"training_config": self.training_config}
            self.callback_handler.on_train_begin(**told, model_config=self.model_config)
            while self.epoch <= self.training_config.num_epochs:
                self._epoch(self.epoch)
            self.saving.finish()
        self.callback_handler.on_train_end(**told)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """With all that a step needs, where the session has it go on; signals wait."""
        self.prepare_training()
        observers, hooks = diagnostics(self.model)
        self.selection = Selection(self.engine.select, self.model)
        self.terms = EpochTerms(observers[True])
        self.eval_terms = EpochTerms([*observers[False], self.selection])
        self.best = Best(self.selection.better)
        try:
            with deferred() as self.stop:
                self.saving = Saving(self)
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _epoch(self, epoch: int) -> None:
        self.callback_handler.on_epoch_begin(
            training_config=self.training_config,
            epoch=epoch,
            step=self.step,
            train_loader=self.train_loader,
            eval_loader=self.eval_loader,
        )
        rates = learning_rates(optimizers(self))
        if self.step < len(self.train_loader):
            self.train_step(epoch)
            self.saving.pause()
        evaluated = self._evaluated(epoch)
        line = {"epoch": epoch, "train": self.terms.means(), "eval": evaluated, **rates}
        check_score(self, line)
        self._schedulers_step(**self._scheduler_metrics(evaluated or line["train"]))
        self.best.see(self._score(line), epoch, self.model)
        self.callback_handler.on_epoch_end(training_config=self.training_config)
        self.epoch, self.step = epoch + 1, 0
        self.saving.epoch_ends(line)
        losses = {f"{s}_epoch_loss": self._total(line[s]) for s in ("train", "eval") if line[s]}
        self.callback_handler.on_log(
            self.training_config, losses, global_step=epoch, rank=self.rank
        )
        self.saving.pause()

    def _evaluated(self, epoch: int) -> dict[str, float]:
        if self.eval_loader is None:
            return {}
        try:
            return self.eval_step(epoch)
        except _CutOff:
            self.saving.pause()
            raise

    def train_step(self, epoch: int) -> None:
        """The rest of an epoch's batches, from `self.step` on."""
        told = {"training_config": self.training_config}
        self.callback_handler.on_train_step_begin(
            **told, train_loader=self.train_loader, epoch=epoch, rank=self.rank
        )
        self.model.train()
        steps = len(self.train_loader)
        for inputs in self.train_loader.batches(epoch, start=self.step):
            self.one_step(inputs, epoch)
            self.step += 1
            self.callback_handler.on_train_step_end(**told)
            if self.step % LOOK_EVERY == 0:
                check_terms(self, "train")
            if self.step < steps:
                self.saving.pause()
        check_terms(self, "train")
        self.model.update()

    def eval_step(self, epoch: int) -> dict[str, float]:
        """Mean of each term over the eval split, under the same random draws at each epoch."""
        told = {"training_config": self.training_config}
        self.callback_handler.on_eval_step_begin(
            **told, eval_loader=self.eval_loader, epoch=epoch, rank=self.rank
        )
        self.model.eval()
        with self._draws_of_evaluation():
            for inputs in self.eval_loader.batches(epoch):
                self.one_evaluation(inputs, epoch)
                self.callback_handler.on_eval_step_end(**told)
                if self.stop.asked:
                    raise _CutOff
        check_terms(self, "eval")
        return self.eval_terms.means()

    def one_step(self, inputs: Any, epoch: int) -> None:
        """Train on one batch. Its graph is gone before the next one's is made."""
        if hasattr(self.model, "anneal"):
            self.model.anneal(epoch - 1 + self.step / len(self.train_loader))
        output = self._forward(inputs, epoch, "train")
        self._optimizers_step(output)
        self.terms.add(inputs, output)

    def one_evaluation(self, inputs: Any, epoch: int) -> None:
        """Take one batch of the eval split into its terms."""
        self.eval_terms.add(inputs, self._forward_without_gradients(inputs, epoch))

    def _forward(self, inputs: Any, epoch: int, split: str) -> ModelOutput:
        count = len(self.loaders[split].dataset)
        try:
            with self.amp_context:
                return self.model(inputs, epoch=epoch, dataset_size=count, uses_ddp=False)
        except Exception as error:
            # Some losses and distributions refuse NaN before there is a loss to show it.
            if refuses_nan(error):
                refused_batch(self, split, error)
            raise

    # Whether the model wants gradients in evaluation, as HVAE, RHVAE and RAE_GP do; None: unknown.
    wants_gradients: bool | None = None

    def _forward_without_gradients(self, inputs: Any, epoch: int) -> ModelOutput:
        if self.wants_gradients:
            return self._forward(inputs, epoch, "eval")
        before = random_state() if self.wants_gradients is None else None
        try:
            with torch.no_grad():
                output = self._forward(inputs, epoch, "eval")
        except RuntimeError as error:
            # Upstream tries again after any error, and so hides what is out of memory.
            if before is None or "does not require grad" not in str(error):
                raise
            # The draws of the vain attempt do not count: it is made once in each session.
            set_random_state(before)
            self.wants_gradients = True
            return self._forward(inputs, epoch, "eval")
        self.wants_gradients = False
        return output

    @contextlib.contextmanager
    def _draws_of_evaluation(self) -> Iterator[None]:
        """Random draws of evaluation: their own, so that training does not depend on them."""
        on_gpu = torch.device(self.device).type == "cuda"
        devices = [torch.cuda.current_device()] if on_gpu else []
        streams = np.random.SeedSequence(self.session.run.seed, spawn_key=(1,))
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(streams.generate_state(1)[0]))
            yield

    # Losses.

    def _total(self, terms: dict[str, float]) -> float:
        """The loss of the run: of a trainer of several parts the sum of theirs."""
        if not self.parts:
            return terms["loss"]
        return sum(terms[f"{part}_loss"] for part in self.parts)

    def _score(self, line: dict[str, Any]) -> float:
        """What the best model is chosen by."""
        if self.training_config.keep_best_on_train:
            return self._total(line["train"])
        key = self.selection.key
        return self._total(line["eval"]) if key == "loss" else line["eval"][key]

    def _scheduler_metrics(self, terms: dict[str, float]) -> dict[str, float]:
        if not self.parts:
            return {"metrics": terms["loss"]}
        return {f"{part}_metrics": terms[f"{part}_loss"] for part in self.parts}


class _CutOff(Exception):
    """Evaluation was left because the run is to stop."""
