"""Pythae's trainers and `TrainingPipeline`, writing into a run directory of ours.

What changes: where files go (no folder named by the second), what is printed (one bar, and
nothing where nobody looks), and that a loss that is not finite ends the run with one line.
Optimisation, data order and the choice of the best model are upstream's.
"""

import logging
import math
import warnings
from pathlib import Path
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
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from torch.utils.data import Dataset

from study.errors import RunFailed
from study.progress import progress
from train.models.vaegan import VAEGANCorrected


class BarCallback(TrainingCallback):
    """One bar over all training steps of the run, with the last eval loss beside it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar: Any = None

    def on_epoch_begin(self, training_config: Any, train_loader: Any = None, **kwargs: Any) -> None:
        if self.bar is None:
            total = training_config.num_epochs * len(train_loader)
            self.bar = progress(total, self.what, "step")

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
        self.bar.update(1)

    def on_log(self, training_config: Any, logs: dict[str, float], **kwargs: Any) -> None:
        loss = logs.get("eval_epoch_loss", logs["train_epoch_loss"])
        self.bar.set_postfix_str(f"epoch {kwargs['global_step']}, loss {loss:.4g}")

    def close(self) -> None:
        """Take the bar off the terminal, also when training failed."""
        if self.bar is not None:
            self.bar.close()


class RunDirectoryMixin:
    """Any Pythae trainer, with its output in `training_config.output_dir` itself."""

    def _set_output_dir(self) -> None:
        self.training_dir = self.training_config.output_dir
        self._training_signature = self.model_name

    def _setup_callbacks(self) -> None:
        # Upstream adds its own bar (one an epoch) and its console printer here.
        self.callback_handler = CallbackHandler(callbacks=self.callbacks, model=self.model)

    def train_step(self, epoch: int) -> Any:
        return self._finite(super().train_step, "train", epoch)

    def eval_step(self, epoch: int) -> Any:
        return self._finite(super().eval_step, "eval", epoch)

    def _finite(self, step: Any, split: str, epoch: int) -> Any:
        losses: Any = math.nan
        try:
            losses = step(epoch)
        except ArithmeticError:  # upstream's word for NaN
            pass
        except RuntimeError as error:
            # torch's BCE refuses NaN in these words before a loss can show it.
            if "between 0 and 1" not in str(error):
                raise
        # Trainers of several optimizers give the total first and then its parts.
        loss = losses[0] if isinstance(losses, tuple) else losses
        # Upstream takes no model for the best whose loss is 1e10 or more, and then has none.
        if not abs(loss) < 1e10:
            raise RunFailed(
                f"{self.training_dir}: the {split} loss became {loss} in epoch {epoch}; "
                f"a smaller trainer.learning_rate is the first thing to try"
            )
        return losses

    def save_model(self, model: Any, dir_path: str) -> None:
        """Save beside `final_model`; whoever trains renames it when all else is written."""
        super().save_model(_unhooked(model), str(final_model_aside(Path(self.training_dir))))

    def save_checkpoint(self, model: Any, dir_path: str, epoch: int) -> None:
        """As Pythae's, of the best model so far."""
        super().save_checkpoint(_unhooked(model), dir_path, epoch)


def _unhooked(best: Any) -> Any:
    """The best model, which is a deep copy, without the hooks of the history that it came with.

    Pythae would pickle a VAEGAN's discriminator with one that keeps the scores of every call.
    """
    for part in best.modules():
        part._forward_hooks.clear()
    return best


def final_model_aside(directory: Path) -> Path:
    """Where a run directory's final model lies until the run is done."""
    return directory / ".final_model.partial"


class RunTrainer(RunDirectoryMixin, BaseTrainer):
    """Pythae's `BaseTrainer` in a run directory."""


class RunAdversarialTrainer(RunDirectoryMixin, AdversarialTrainer):
    """Pythae's trainer of Adversarial_AE and FactorVAE in a run directory."""


class RunCoupledTrainer(RunDirectoryMixin, CoupledOptimizerTrainer):
    """Pythae's trainer of RAE_L2 and PIWAE in a run directory."""


class RunCoupledAdversarialTrainer(RunDirectoryMixin, CoupledOptimizerAdversarialTrainer):
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

    def __call__(
        self, train_data: Dataset, eval_data: Dataset | None, callbacks: list[TrainingCallback]
    ) -> None:
        for data in (train_data, eval_data):
            if data is not None:
                self._check_dataset(data)
        self.trainer = TRAINERS[type(self.training_config)](
            model=self.model,
            train_dataset=train_data,
            eval_dataset=eval_data,
            training_config=self.training_config,
            callbacks=callbacks,
        )
        self.trainer.train()


def quiet_pythae() -> None:
    """Turn off Pythae's console logging: each of its modules prints to stderr on its own.

    Its warnings too: networks that do not fit are refused before, and the rest is of how Pythae
    calls torch (SVAE's and PoincareVAE's distributions).
    """
    warnings.filterwarnings("ignore", module="pythae")
    warnings.filterwarnings("ignore", message=".*'pythae")  # torch's, of Pythae's distributions
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("pythae") and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.setLevel(logging.WARNING)
