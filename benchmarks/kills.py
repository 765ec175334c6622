"""Whether a run that is killed again and again ends as the run that nobody disturbed.

    python -m benchmarks.kills [--models AE VAE ...] [--kills 100] [--json FILE]

For each model one run is trained undisturbed. Then the same run is trained in another folder by
processes that are killed with SIGKILL at random moments, each going on from what the one before
left on disk; after ten kills (`--per-run`) it is left to end, and compared bit for bit: the best
and the last model, the last checkpoint (weights, optimizers, random generators, place), the
history but for its seconds. Then again, until there were as many kills as asked for.

Moments are drawn uniformly over the time of the undisturbed run from where training starts; the
n-th kill comes when the killed run has trained that long, all attempts together. One attempt in
ten is killed before it trains, while the run is set up. The networks are tiny convnets with
BatchNorm, a checkpoint is due at every fifth step and at each epoch's end.
"""

import itertools
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from benchmarks.parts import also_call, forking, noise, write_dataset, write_run
from benchmarks.same_bits import differences
from study.cli import Parser, positive_int
from study.datasets import open_dataset
from study.errors import RunFailed, run_command
from study.files import write_json
from study.progress import progress
from study.pythae_json import TRAINER_OF
from study.runs import load_run

MODELS: dict[str, dict[str, Any]] = {
    "AE": {"name": "AEConfig"},
    "VAE": {"name": "VAEConfig"},
    "WAE_MMD": {"name": "WAE_MMD_Config"},
    "VQVAE": {"name": "VQVAEConfig", "num_embeddings": 8},
    "VQVAE-EMA": {"name": "VQVAEConfig", "num_embeddings": 8, "use_ema": True},
    "VAEGAN": {"name": "VAEGANConfig", "adversarial_loss_scale": 0.8, "reconstruction_layer": 3},
}
# What a process is at, in the order of the numbers by which it tells.
PHASES = ("setting up", "training", "evaluating", "ending an epoch", "ending")
SETTING_UP, TRAINING, EVALUATING, ENDING_EPOCH, ENDING = range(len(PHASES))
WRITING = "writing a checkpoint"
IN_SET_UP = 0.1


def config(model: str, epochs: int) -> dict[str, Any]:
    """The run file's content."""
    section = MODELS[model] | {"latent_dim": 4}
    trainer = {"name": TRAINER_OF.get(section["name"], "BaseTrainerConfig"), "num_epochs": epochs}
    sizes = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    return {
        "dataset": "kills",
        "networks": {"name": "convnet28", "width": 2},
        "model": section,
        "trainer": trainer | sizes | {"no_cuda": True},
        "engine": {"keep": "all", "checkpoint_every": {"steps": 5, "epochs": 1}},
    }


# --- the process that trains ----------------------------------------------------------------------


def _train(run_file: Path, data: Path, out: Path, phase: Any, steps: Any, log: Path) -> None:
    """Train or go on; `phase` and `steps` are shared with whoever kills."""
    import torch
    from pythae.trainers.training_callbacks import TrainingCallback

    from train.run import train_run

    class Reports(TrainingCallback):
        def on_epoch_begin(self, training_config: Any, **kwargs: Any) -> None:
            phase.value = TRAINING

        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            steps.value += 1

        def on_eval_step_begin(self, training_config: Any, **kwargs: Any) -> None:
            phase.value = EVALUATING

        def on_epoch_end(self, training_config: Any, **kwargs: Any) -> None:
            phase.value = ENDING_EPOCH

        def on_save(self, training_config: Any, **kwargs: Any) -> None:
            phase.value = ENDING

    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    torch.set_num_threads(1)
    # tqdm's own is shared between processes, and outlives one that is killed.
    tqdm.set_lock(threading.RLock())
    also_call(Reports())
    run = load_run(run_file)
    train_run(run, open_dataset(data, run.config.dataset), out)


# --- the process that kills -----------------------------------------------------------------------


@dataclass
class Trial:
    """A run of one model, undisturbed and killed."""

    work: Path
    run_file: Path
    seed: int = 0
    # Seconds of the undisturbed run: to where training starts, and from there.
    set_up: float = 0.0
    training: float = 0.0
    # Where kills came, steps that were trained (of the undisturbed run first), what came out other.
    kills: Counter = field(default_factory=Counter)
    steps: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = forking()
        self.random = random.Random(self.seed)
        self.log = self.work / "log.txt"

    def undisturbed(self) -> None:
        """Train once; what the killed ones are compared with."""
        # Not timed: it imports what the processes are forked from, if nothing did so far.
        warm = self.context.Process(target=_nothing)
        warm.start()
        warm.join()
        attempt = self._attempt(self.work / "undisturbed")
        self.set_up = attempt.set_up()
        started = time.perf_counter()
        attempt.process.join()
        self.training = time.perf_counter() - started
        self._check(attempt)
        self.steps.append(attempt.steps.value)

    def killed(self, kills: int) -> None:
        """Train once more, killed at most `kills` times, and compare."""
        out = self.work / f"killed-{len(self.steps)}"
        steps = 0
        for gap in self._gaps(kills):
            attempt = self._attempt(out)
            before = _writing(out)
            if gap is None:
                attempt.process.start()
                attempt.process.join(self.random.uniform(0, self.set_up))
            else:
                self.set_up = min(self.set_up, attempt.set_up())
                attempt.process.join(gap)
            attempt.process.kill()
            attempt.process.join()
            steps += attempt.steps.value
            if attempt.process.exitcode != -signal.SIGKILL:
                self._check(attempt)
                break  # it was done before
            self.kills[self._where(attempt, out, before)] += 1
        last = self._attempt(out)
        last.process.start()
        last.process.join()
        self._check(last)
        self.steps.append(steps + last.steps.value)
        name = f"{self.work.name}, {out.name}"
        self.differences += [
            f"{name}: {where}" for where in differences(self.work / "undisturbed", out)
        ]

    def _gaps(self, kills: int) -> Iterator[float | None]:
        """Seconds of training before each kill, since the one before; None: while it is set up.

        Their sums are uniform over the time of training.
        """
        early = [self.random.random() < IN_SET_UP for _ in range(kills)]
        moments = [self.random.uniform(0, self.training) for _ in range(early.count(False))]
        gaps = (b - a for a, b in itertools.pairwise([0.0, *sorted(moments)]))
        for is_early in early:
            yield None if is_early else next(gaps)

    def _attempt(self, out: Path) -> "_Attempt":
        phase, steps = self.context.RawValue("i", SETTING_UP), self.context.RawValue("i", 0)
        words = (self.run_file, self.work, out, phase, steps, self.log)
        return _Attempt(self.context.Process(target=_train, args=words), phase, steps)

    def _check(self, attempt: "_Attempt") -> None:
        if attempt.process.exitcode != 0:
            raise RunFailed(f"training failed: {self.log.read_text()[-600:]}")

    def _where(self, attempt: "_Attempt", out: Path, before: float | None) -> str:
        if _writing(out) not in (None, before):
            return WRITING
        if attempt.phase.value != SETTING_UP and not (out / "checkpoint.pt").exists():
            return "before the first checkpoint"
        return PHASES[attempt.phase.value]


@dataclass
class _Attempt:
    process: Any
    phase: Any
    steps: Any

    def set_up(self) -> float:
        """Start the process and wait until it trains, or ends; the seconds that took."""
        started = time.perf_counter()
        self.process.start()
        while self.phase.value == SETTING_UP and self.process.is_alive():
            time.sleep(0.0005)
        return time.perf_counter() - started


def _nothing() -> None:
    pass


def _writing(out: Path) -> float | None:
    """When a checkpoint that is not whole was written at last; None where there is none."""
    aside = out / ".checkpoint.pt.partial"
    return aside.stat().st_mtime if aside.exists() else None


def trial(model: str, work: Path, kills: int, per_run: int, epochs: int, seed: int = 0) -> Trial:
    """Kill runs of `model`, `per_run` times each, until there were `kills` kills; in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    images = {"train": noise(90, (1, 28, 28)), "eval": noise(50, (1, 28, 28), seed=1)}
    write_dataset(work, "kills", images)
    found = Trial(work, write_run(work, config(model, epochs)), seed)
    found.undisturbed()
    with progress(kills, model, "kill") as bar:
        while (left := kills - found.kills.total()) > 0:
            found.killed(min(left, per_run))
            bar.update(kills - left + found.kills.total() - bar.n)
    return found


def report(trials: dict[str, Trial]) -> None:
    """A line for each model."""
    rows = []
    for model, found in trials.items():
        whole, *killed = found.steps
        where = ", ".join(f"{place} {count}" for place, count in found.kills.most_common())
        rows.append(
            {
                "model": model,
                "kills": found.kills.total(),
                "runs": len(killed),
                "steps": whole,
                "trained, killed": f"{statistics.mean(killed):.0f}",
                "killed while": where,
                "bit for bit": "no" if found.differences else "yes",
            }
        )
    print(pd.DataFrame(rows).to_markdown(index=False))


def parser() -> Parser:
    """The command line of `python -m benchmarks.kills`."""
    made = Parser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    made.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    made.add_argument("--kills", type=positive_int, default=100, metavar="N", help="a model (100)")
    made.add_argument("--per-run", type=positive_int, default=10, metavar="N", help="(10)")
    made.add_argument("--epochs", type=positive_int, default=20, metavar="N", help="of a run (20)")
    made.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    made.add_argument("--json", type=Path, metavar="FILE", help="what was found, as JSON")
    return made


def main() -> int:
    arguments = parser().parse_args()
    trials: dict[str, Trial] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in dict.fromkeys(arguments.models):
            words = (arguments.kills, arguments.per_run, arguments.epochs, arguments.seed)
            trials[model] = trial(model, Path(folder) / model, *words)
    report(trials)
    if arguments.json:
        content = {
            model: {"kills": found.kills, "steps": found.steps, "differences": found.differences}
            for model, found in trials.items()
        }
        write_json(arguments.json, content)
    unlike = [where for found in trials.values() for where in found.differences]
    if unlike:
        raise RunFailed(f"not the undisturbed run: {'; '.join(unlike[:5])}")
    return 0


if __name__ == "__main__":
    run_command("benchmarks.kills", main)
