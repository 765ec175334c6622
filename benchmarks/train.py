"""Images a second in training: ours, stock Pythae and a bare loop, in turn.

    python -m benchmarks.train [--cases small mnist-32 ...] [--rounds 60] [--json FILE]

Ours is `train_run`, as `python -m train` calls it, from a prepared data set. Stock is Pythae's
`TrainingPipeline` at its defaults, handed the images as a float array in [0, 1]. Bare is the floor:
zero_grad, forward, backward, step on one batch that is in memory on the device as float. All three
train the same model, with the same optimizer and batch size; ours and bare with the same precision
and layout of the networks (`engine`).

Each is a process of its own, as a training run is: it has its own heap, thread pools, compiled
kernels and global settings of torch. All three are up at once and take turns: one runs a few steps
(as many for all; what takes the bare loop `--turn` milliseconds) while the others sleep. A ratio is
taken within a round of turns, about a second, and what is shown is the median over rounds with its
quartiles: the speed of a machine that others use changes by tens of percent within seconds.

What is timed are training steps alone, from the end of one to the end of another (Pythae's
callback `on_train_step_end`, the same for ours and stock). Reading data, moving it to the device
and what a trainer does after each step count; set-up, each turn's first step and what is done once
an epoch (its order, the best model, history) do not.

Threads of a process whose turn it is not must not spin: OMP_WAIT_POLICY is PASSIVE for all three,
unless it is set. With more threads than free cores, the threads wait for each other most of the
time: set OMP_NUM_THREADS.

glibc gives large blocks back to the system when they are freed and gets them again at the next
step; on a CPU that can be a quarter of a small model's step. Ours has it keep them
(`train/allocator.py`), stock and bare allocate as glibc does by default; `--malloc` has all three
keep what they freed, so that what is left is the engine's.

On a GPU: `--set engine.precision=bf16 --set engine.channels_last=true --set engine.compile=true`,
each alone and together, beside the defaults. Stock knows none of `engine`.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parts import noise, write_dataset, write_run
from benchmarks.rivals import Job, about, bare, flops, ours, peak, stock
from benchmarks.turns import Rival, Train, steps_that_take, take_turns
from study.cli import Parser, positive_int
from study.datasets import open_dataset
from study.errors import StudyError, run_command
from study.files import write_json
from study.overrides import parse_overrides
from study.pythae_json import TRAINER_OF


@dataclass(frozen=True)
class Case:
    """A run to measure. `images` are those of an epoch, on a CPU and on a GPU."""

    dataset: str
    shape: tuple[int, int, int]
    networks: dict[str, Any]
    model: dict[str, Any]
    batch: int
    images: tuple[int, int]


def _mnist(model: str, **keys: Any) -> Case:
    networks = {"name": "convnet28", "width": 32}
    section = {"name": model, "latent_dim": 16} | keys
    return Case("mnist", (1, 28, 28), networks, section, 128, (3072, 49_920))


def _celeba(width: int, images: tuple[int, int]) -> Case:
    networks = {"name": "convnet64", "width": width}
    return Case("celeba64", (3, 64, 64), networks, VAE | {"latent_dim": 64}, 64, images)


VAE = {"name": "VAEConfig", "latent_dim": 32}
CASES = {
    # The small VAE that stock Pythae trains at 0.66 to 0.75 of the bare loop.
    "small": Case(
        "celeba56", (3, 56, 56), {"name": "convnet56", "width": 16}, VAE, 32, (8992, 48_000)
    ),
    "celeba64-32": _celeba(32, (1024, 25_600)),
    "celeba64-128": _celeba(128, (640, 6400)),
    "mnist-32": _mnist("VAEConfig"),
    "mnist-32-ae": _mnist("AEConfig"),
    "mnist-32-betavae": _mnist("BetaVAEConfig", beta=4.0),
    "mnist-32-wae_mmd": _mnist("WAE_MMD_Config"),
    "mnist-32-vqvae": _mnist("VQVAEConfig", num_embeddings=128),
    # Within this margin all three parts are updated at each step, whatever the images: the work of
    # a step is then the same for all.
    "mnist-32-vaegan": _mnist(
        "VAEGANConfig", adversarial_loss_scale=0.8, reconstruction_layer=3, margin=1e6
    ),
}


TRAININGS: dict[str, Train] = {"ours": ours, "stock": stock, "bare": bare}
# glibc: no block is mapped by itself, and no freed memory goes back before there are 2 GiB of it.
KEEP_FREED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
# Case (None: every case), ours over what, at least how much, on a GPU only.
BARS = (
    ("small", "bare", 0.97, False),
    (None, "stock", 0.98, False),
    ("small", "stock", 10.0, True),
    ("celeba64-128", "stock", 3.0, True),
)


class Bench:
    """Measurements of one invocation."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.arguments = arguments
        self.work = work
        self.overrides = parse_overrides(arguments.set)
        probe = self.prepare("probe", CASES["mnist-32"], 256)
        self.about = about(probe)
        self.gpu = self.about["machine"]["gpu"]
        self.peak = peak(probe)

    def prepare(self, name: str, case: Case, count: int) -> Job:
        """Data and run file of a case."""
        folder = self.work / name
        folder.mkdir()
        trainer = TRAINER_OF.get(case.model["name"], "BaseTrainerConfig")
        config = {
            "dataset": case.dataset,
            "networks": case.networks,
            "model": case.model,
            "trainer": {
                "name": trainer,
                "num_epochs": 1_000_000,  # it ends when its turns do
                "per_device_train_batch_size": case.batch,
                "keep_best_on_train": True,
                "no_cuda": self.arguments.no_cuda,
            },
        }
        write_dataset(folder, case.dataset, {"train": self._images(case, count)})
        return Job(write_run(folder, config), folder, self.overrides)

    def _images(self, case: Case, count: int) -> np.ndarray:
        if self.arguments.data is None:
            return noise(count, case.shape)
        dataset = open_dataset(self.arguments.data, case.dataset)
        if dataset.shape != case.shape or dataset.count("train") < count:
            raise StudyError(
                f"{dataset.folder}: {dataset.count('train'):,} training images of {dataset.shape}; "
                f"{count:,} of {case.shape} are wanted"
            )
        return dataset.images("train")[:count]

    def run(self, name: str) -> dict[str, Any]:
        """Images a second of the three in each round, and what follows from them."""
        case = CASES[name]
        batch = self.overrides.get("trainer.per_device_train_batch_size", case.batch)
        # Of one size, so that turns compare; one of them at least beside a turn's first.
        batches = max(2, (self.arguments.images or case.images[bool(self.gpu)]) // batch)
        job = self.prepare(name, case, batches * batch)
        with contextlib.ExitStack() as stack:
            rivals = {}
            for rival, train in TRAININGS.items():
                rivals[rival] = Rival(train, job, self.work / f"{name}-{rival}")
                stack.callback(rivals[rival].end)
            # Until all are set up.
            for rival in rivals.values():
                rival.turn(1)
            steps = steps_that_take(self.arguments.turn / 1000, rivals["bare"], batches - 1)
            turns = {key: partial(rival.turn, steps) for key, rival in rivals.items()}
            seconds = take_turns(name, turns, self.arguments.rounds)
        images = steps * batch
        speeds = {rival: [images / each for each in found] for rival, found in seconds.items()}
        return {"steps of a turn": steps} | self.summary(speeds, flops(job))

    def summary(self, speeds: dict[str, list[float]], flops: float) -> dict[str, Any]:
        pairs = (("ours", "bare"), ("stock", "bare"), ("ours", "stock"))
        ratios = {f"{a}/{b}": np.divide(speeds[a], speeds[b]) for a, b in pairs}
        ours = statistics.median(speeds["ours"])
        return {
            "images/s": {rival: statistics.median(found) for rival, found in speeds.items()},
            "ratios": {pair: float(np.median(found)) for pair, found in ratios.items()},
            "quartiles": {
                pair: np.percentile(found, (25, 75)).tolist() for pair, found in ratios.items()
            },
            "GFLOP/image": flops / 1e9,
            "share of peak": ours * flops / self.peak,
            "rounds": speeds,
        }


def bars(cases: dict[str, dict[str, Any]], gpu: bool) -> list[dict[str, Any]]:
    """Each bar that is for this machine, on each case that it is for and that was measured."""
    return [
        {"case": name, "ratio": f"ours/{rival}", "found": found, "bar": bar, "met": found >= bar}
        for case, rival, bar, needs_gpu in BARS
        for name, result in cases.items()
        if case in (None, name) and (gpu or not needs_gpu)
        for found in [result["ratios"][f"ours/{rival}"]]
    ]


def table(cases: dict[str, dict[str, Any]]) -> str:
    """Markdown; a line for each case."""
    rows = []
    for name, result in cases.items():
        row = {"case": name, "steps": f"{result['steps of a turn']}"}
        row |= {f"{rival}, images/s": f"{v:,.4g}" for rival, v in result["images/s"].items()}
        for ratio, value in result["ratios"].items():
            low, high = result["quartiles"][ratio]
            row[ratio] = f"{value:.3g} ({low:.3g}–{high:.3g})"
        row["GFLOP/image"] = f"{result['GFLOP/image']:.3g}"
        row["ours, share of peak"] = f"{result['share of peak']:.2f}"
        rows.append(row)
    align = ["left", *["right"] * (len(rows[0]) - 1)]
    return pd.DataFrame(rows).to_markdown(index=False, colalign=align, disable_numparse=True)


def report(bench: Bench, cases: dict[str, dict[str, Any]]) -> None:
    """Table, machine and bars."""
    arguments, found = bench.arguments, bench.about["machine"]
    device = found["gpu"] or f"{found['processor']}, {found['cores']} cores"
    kind = "bf16" if found["gpu"] else "float32"
    print(table(cases))
    print(
        f"\n{device}, {found['threads']} threads, torch {bench.about['versions']['torch']}; "
        f"peak of a {kind} matrix product {bench.peak / 1e12:.3g} TFLOP/s. Medians (quartiles) of "
        f"{arguments.rounds} rounds{', all keep freed memory' if arguments.malloc else ''}"
        f"{'; ' + ' '.join(arguments.set) if arguments.set else ''}.\n"
    )
    for bar in bars(cases, bool(bench.gpu)):
        verdict = "met" if bar["met"] else "not met"
        name = f"{bar['case']}, {bar['ratio']}"
        print(f"- {name}: {bar['found']:.3f}, at least {bar['bar']} is wanted: {verdict}")
    if not bench.gpu:
        print("- no GPU is here: the bars for one were not measured")


def parser() -> Parser:
    """The command line of `python -m benchmarks.train`."""
    made = Parser(prog="python -m benchmarks.train", description=__doc__.splitlines()[0])
    made.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="CASE",
        help=f"all, or of: {', '.join(CASES)}",
    )
    made.add_argument("--rounds", type=positive_int, default=60, metavar="N", help="60 by default")
    made.add_argument(
        "--turn", type=positive_int, default=200, metavar="MS", help="of the bare loop (200)"
    )
    made.add_argument("--images", type=positive_int, metavar="N", help="of an epoch, for all cases")
    made.add_argument("--data", type=Path, help="folder of data sets; without it images of noise")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in train")
    made.add_argument("--malloc", action="store_true", help="all three keep freed memory (glibc)")
    made.add_argument("--no-cuda", action="store_true", help="on the CPU, though a GPU is here")
    made.add_argument("--json", type=Path, metavar="FILE", help="everything measured, as JSON")
    return made


def main() -> int:
    arguments = parser().parse_args()
    # Of the processes to come: libgomp and glibc read them when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(KEEP_FREED if arguments.malloc else {})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        cases = {name: bench.run(name) for name in dict.fromkeys(arguments.cases)}
    report(bench, cases)
    if arguments.json:
        content = bench.about | {
            "settings": arguments.set,
            "malloc": arguments.malloc,
            "peak FLOP/s": bench.peak,
        }
        content |= {"cases": cases, "bars": bars(cases, bool(bench.gpu))}
        write_json(arguments.json, content)
    return 0


if __name__ == "__main__":
    run_command("benchmarks.train", main)
