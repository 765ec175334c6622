"""Pythae's trainers and its `TrainingPipeline` with our engine, and what they say turned off."""

import logging
import warnings
from typing import Any

from pythae.models.base.base_utils import ModelOutput
from pythae.pipelines import TrainingPipeline
from pythae.trainers import (
    AdversarialTrainer,
    AdversarialTrainerConfig,
    BaseTrainer,
    BaseTrainerConfig,
    CoupledOptimizerAdversarialTrainer,
    CoupledOptimizerAdversarialTrainerConfig,
    CoupledOptimizerTrainer,
    CoupledOptimizerTrainerConfig,
)
from pythae.trainers.training_callbacks import TrainingCallback
from torch.utils.data import Dataset

from study.progress import progress
from train.models.vaegan import VAEGANCorrected
from train.trainer import EngineMixin, Session


class BarCallback(TrainingCallback):
    """One bar over all training steps of the run, with the last eval loss beside it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar: Any = None

    def on_epoch_begin(
        self, training_config: Any, epoch: int = 1, step: int = 0, **kwargs: Any
    ) -> None:
        if self.bar is None:
            steps = len(kwargs["train_loader"])
            done = (epoch - 1) * steps + step
            self.bar = progress(training_config.num_epochs * steps, self.what, "step", done)

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self.bar.update(1)

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        loss = logs.get("eval_epoch_loss", logs["train_epoch_loss"])
        self.bar.set_postfix_str(f"epoch {kwargs['global_step']}, loss {loss:.4g}")

    def close(self) -> None:
        """Take the bar off the terminal, also when training failed."""
        if self.bar is not None:
            self.bar.close()


class RunTrainer(EngineMixin, BaseTrainer):
    """Pythae's `BaseTrainer` in a run directory."""


class RunAdversarialTrainer(EngineMixin, AdversarialTrainer):
    """Pythae's trainer of Adversarial_AE and FactorVAE in a run directory."""


class RunCoupledTrainer(EngineMixin, CoupledOptimizerTrainer):
    """Pythae's trainer of RAE_L2 and PIWAE in a run directory."""


class RunCoupledAdversarialTrainer(EngineMixin, CoupledOptimizerAdversarialTrainer):
    """Pythae's trainer of VAEGAN in a run directory."""

    def _optimizers_step(self, model_output: ModelOutput) -> None:
        if not isinstance(self.model, VAEGANCorrected):
            super()._optimizers_step(model_output)
            return
        self.model.set_gradients(model_output)
        for part in self.model.updated(model_output):
            getattr(self, f"{part}_optimizer").step()


TRAINERS = {
    BaseTrainerConfig: RunTrainer,
    AdversarialTrainerConfig: RunAdversarialTrainer,
    CoupledOptimizerTrainerConfig: RunCoupledTrainer,
    CoupledOptimizerAdversarialTrainerConfig: RunCoupledAdversarialTrainer,
}


class RunPipeline(TrainingPipeline):
    """Pythae's `TrainingPipeline` with our trainers: its checks of model, config and data stay."""

    def prepare(
        self,
        train_data: Dataset,
        eval_data: Dataset | None,
        callbacks: list[TrainingCallback],
        session: Session,
    ) -> None:
        """Make `trainer`, which has tried the model on a batch then."""
        for data in (train_data, eval_data):
            if data is not None:
                self._check_dataset(data)
        self.trainer = TRAINERS[type(self.training_config)](
            model=self.model,
            train_dataset=train_data,
            eval_dataset=eval_data,
            training_config=self.training_config,
            callbacks=callbacks,
            session=session,
        )


def quiet_pythae() -> None:
    """Turn off Pythae's console logging: each of its modules prints to stderr on its own.

    Its warnings too: networks that do not fit are refused before, and the rest is of how Pythae
    calls torch (SVAE's and PoincareVAE's distributions).
    """
    warnings.filterwarnings("ignore", module="pythae")
    warnings.filterwarnings("ignore", message=".*'pythae")  # torch's, of Pythae's distributions
    # Of a run that goes on from between its training and its evaluation: it did step before.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("pythae") and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.setLevel(logging.WARNING)
