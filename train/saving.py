"""What a run in training leaves on disk: history, checkpoints, and at the end its models."""

import shutil
import time
from typing import Any

import torch

from study.errors import describe_os_error
from study.files import sync, write_json, written_whole
from study.progress import say
from study.provenance import now
from study.rundir import RunDirectory
from train.history import append_line, write_history
from train.models import build_model, load_weights, saved_form
from train.not_finite import check_terms, check_weights
from train.prune import prune_run
from train.state import restore_trainer, trainer_state
from train.watch import concerns


class Saving:
    """The files of a trainer's run; made when training begins, or goes on."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.session = trainer.session
        self.directory: RunDirectory = trainer.directory
        self.every, self.steps = trainer.engine.checkpoint_every, len(trainer.train_loader)
        self.lines: list[dict[str, Any]] = []
        self.warned: dict[str, str] = {}
        # Seconds of training before `clock` began, of the whole run and of its epoch.
        self.seconds = self.epoch_seconds = 0.0
        if self.session.resumed is not None:
            self._restore(self.session.resumed)
            self.session.resumed = None  # as large as the model and its optimizers
        # What was written after the checkpoint comes again.
        write_history(self.directory.history, self.lines)
        self.clock = self.saved_at = time.perf_counter()
        self.place_saved = self._place()

    def _restore(self, state: dict[str, Any]) -> None:
        restore_trainer(self.trainer, state["trainer"])
        self.lines, self.warned = state["lines"], state["warned"]
        self.seconds, self.epoch_seconds = state["seconds"], state["epoch_seconds"]

    def _place(self) -> tuple[int, int]:
        return self.trainer.epoch, self.trainer.step

    # In the course of training.

    def pause(self) -> None:
        """Between two steps: stop where that was asked for, and save where it is time."""
        stop = self.trainer.stop
        if not stop.asked and not self._due():
            return
        try:
            self.write()
        except OSError as error:
            # The run itself is well, and the checkpoint before is whole.
            then = "the one before stays" if stop.asked else "training goes on"
            say(f"no checkpoint was written ({describe_os_error(error)}); {then}")
        self.saved_at = time.perf_counter()
        stop.act()

    def _due(self) -> bool:
        every, steps, (epoch, step) = self.every, self.steps, self._place()
        done = (epoch - 1) * steps + step
        # With all its steps done an epoch is not over: it has yet to be evaluated.
        between = step < steps
        return (
            (every.epochs is not None and step == 0 and (epoch - 1) % every.epochs == 0)
            or (every.steps is not None and between and done % every.steps == 0)
            or (every.seconds is not None and time.perf_counter() - self.saved_at >= every.seconds)
        )

    def write(self) -> None:
        """Write a checkpoint, unless the last one is of this very place.

        RunFailed where the model is not finite; OSError on a full disk, say.
        """
        if self._place() == self.place_saved and self.directory.checkpoint.is_file():
            return
        check_terms(self.trainer, "train")
        check_weights(self.trainer)
        self._tick()
        self.session.checkpoints.write(
            {
                "trainer": trainer_state(self.trainer),
                "lines": self.lines,
                "warned": self.warned,
                "seconds": self.seconds,
                "epoch_seconds": self.epoch_seconds,
                **self.session.kept,
            }
        )
        self.place_saved = self._place()

    def _tick(self) -> None:
        """Take the time since the last tick into account."""
        passed, self.clock = time.perf_counter() - self.clock, time.perf_counter()
        self.seconds += passed
        self.epoch_seconds += passed

    def epoch_ends(self, line: dict[str, Any]) -> None:
        """Write the epoch's line of the history, and what is to be said of it."""
        self._tick()
        line["seconds"] = round(self.epoch_seconds, 3)
        self.epoch_seconds = 0.0
        previous = self.lines[-1] if self.lines else None
        self.lines.append(line)
        try:
            append_line(self.directory.history, line)
        except OSError as error:
            # Checkpoints have the lines, too, and the end of training writes them all.
            say(f"no line was written ({describe_os_error(error)}); training goes on")
        self.session.seen(line)
        for kind, words in concerns(self.trainer.model, line, previous).items():
            if kind not in self.warned:
                self.warned[kind] = words
                say(f"{self.directory.path}: {words}")
        self._pythaes_own_checkpoint(line["epoch"])

    def _pythaes_own_checkpoint(self, epoch: int) -> None:
        every = self.trainer.training_config.steps_saving
        if every is not None and epoch % every == 0:
            self.trainer.save_checkpoint(self._best_model(), str(self.directory.path), epoch)

    # At the end.

    def _best_model(self) -> Any:
        """The best model made anew, so that nothing of the engine's is saved with it; no
        generator that training draws from moves."""
        with torch.random.fork_rng(devices=[]):
            model = build_model(self.session.run)
        load_weights(model, self.trainer.best.weights)
        return model

    def finish(self) -> None:
        """Write the models; `final_model`, the last of all, makes the run a trained one."""
        engine, directory = self.trainer.engine, self.directory
        check_weights(self.trainer)
        write_history(directory.history, self.lines)
        if engine.keep == "all":
            self.write()
        if engine.keep != "best":
            with written_whole(directory.last_model, "wb") as file:
                torch.save(saved_form(self.trainer.model), file)
        aside = directory.path / ".final_model.partial"
        shutil.rmtree(aside, ignore_errors=True)
        self.trainer.save_model(self._best_model(), str(aside))
        self._tick()
        best = self.trainer.best
        chosen_on = "train" if self.trainer.training_config.keep_best_on_train else "eval"
        write_json(
            directory.finished,
            {
                "finished": now(),
                "seconds": round(self.seconds, 1),
                "best": {
                    "epoch": best.epoch,
                    "select": engine.select,
                    "split": chosen_on,
                    "value": best.score,
                },
                "warnings": list(self.warned.values()),
            },
        )
        # On the disk before what a run could go on from is deleted.
        for file in [*aside.iterdir(), aside]:
            sync(file)
        aside.rename(directory.final_model)
        prune_run(directory, engine.keep)
