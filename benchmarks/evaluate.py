"""Time of measuring a run beside that of the networks alone, in turn; and its memory.

    python -m benchmarks.evaluate [--cases vae vqvae] [--rounds 20] [--memory 2000 8000]

Ours is `evaluate.measure.measure` on mapped uint8 images: reading and scaling them, encoding and
decoding, every per-image metric with LPIPS, the split's own numbers. The floor is the forward
passes that it cannot do without, on the same images that lie in memory as float already: the
encoder, the decoder as often as ours decodes (for the mean, and once for each draw of the ELBO),
and LPIPS's trunk on the originals and on the reconstructions; nothing is computed of what comes
out. Weights are random, the trunk's, too: time does not depend on them.

Both are in one process and take turns of the same few batches, a few seconds at most; the ratio is
taken within a round, and what is shown is the median over rounds with its quartiles. At most 1.15
is wanted. For memory see `benchmarks.memory`: the highest anonymous memory of `python -m evaluate`
(without LPIPS) in a process of its own, over splits of two sizes. Linux only.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.memory import peak_mib
from benchmarks.parts import noise, write_dataset, write_run
from benchmarks.turns import take_turns
from evaluate.measure import Meter, measure
from evaluate.metrics.lpips import TRUNKS, VERSION, lpips_distance
from evaluate.perceptual import Perceptual
from study.cli import Parser, positive_int
from study.errors import run_command
from study.files import write_json
from study.npz import open_array
from study.provenance import machine, package_versions
from study.runs import load_run
from study.schema import Evaluation
from train.dataset import to_unit
from train.execution import device_of, wait_for
from train.latents import latents_of
from train.latents.base import Latents
from train.models import build_model
from train.run import train_run

SHAPE = (3, 64, 64)
BAR = 1.15
# Networks and model of a case.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("convnet64", {"name": "VAEConfig", "latent_dim": 64}),
    "vqvae": ("convnet64_grid", {"name": "VQVAEConfig", "latent_dim": 64, "num_embeddings": 512}),
}
MEASURE = """
import sys
from pathlib import Path
from evaluate.run import evaluate_run
evaluate_run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def run_config(case: str, width: int, no_cuda: bool) -> dict[str, Any]:
    """A run on the data set `bench`."""
    networks, model = CASES[case]
    size = {"grid_side": 16} if networks.endswith("_grid") else {}
    trainer = {"name": "BaseTrainerConfig", "num_epochs": 1, "no_cuda": no_cuda}
    return {
        "dataset": "bench",
        "networks": {"name": networks, "width": width} | size,
        "model": model,
        "trainer": trainer,
        "evaluation": {"split": "eval", "lpips": [], "samples": 256, "nll_samples": 2},
    }


def random_lpips(backbone: str, device: torch.device) -> torch.nn.Module:
    """The package's network, its trunk of random weights: the real file may not be here."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = lpips.LPIPS(net=backbone, version=VERSION, pnet_rand=True, verbose=False)
    return net.requires_grad_(False).eval().to(device)


def floor_of(latents: Latents, net: torch.nn.Module, batches: list[torch.Tensor]) -> Callable:
    """What does the forward passes of `batches`, images in [0, 1] on the device, and no more."""
    draws = Evaluation().elbo_samples

    @torch.inference_mode()
    def pass_through() -> None:
        for x in batches:
            encoded = latents.encode(x)
            x_hat = latents.decode(encoded.z)
            for _ in range(draws if encoded.posterior is not None else 0):
                latents.decode(encoded.z)
            net.net(x)
            net.net(x_hat)

    return pass_through


class Bench:
    """Measurements of one invocation."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.arguments, self.work = arguments, work
        count = arguments.batches * arguments.batch_size
        self.dataset = write_dataset(work, "bench", {"train": noise(count, SHAPE)})

    def time_case(self, case: str) -> dict[str, Any]:
        """Seconds of each one's turns, the first round left out, and their ratio."""
        arguments = self.arguments
        config = run_config(case, arguments.width, arguments.no_cuda)
        run = load_run(write_run(self.work, config)).with_shape(SHAPE)
        device = device_of(run.trainer)
        torch.manual_seed(0)
        latents = latents_of(build_model(run).to(device).eval())
        net = random_lpips(arguments.lpips, device)
        images = open_array(self.dataset.path("train"), "data")
        size = arguments.batch_size
        starts = range(0, len(images), size)
        batches = [to_unit(images[start : start + size]).to(device) for start in starts]
        lpips = Perceptual({"LPIPS": partial(lpips_distance, net)})
        rivals: dict[str, Callable] = {
            "ours": lambda: measure(Meter(latents, Evaluation(), lpips, 0), images, size, case),
            "floor": floor_of(latents, net, batches),
        }
        turns = {key: partial(timed, rival, device) for key, rival in rivals.items()}
        seconds = take_turns(case, turns, arguments.rounds)
        ratios = np.divide(seconds["ours"], seconds["floor"])
        return {
            "images": len(images),
            "seconds": seconds,
            "ratio": float(np.median(ratios)),
            "quartiles": np.percentile(ratios, (25, 75)).tolist(),
        }

    def memory(self, case: str) -> list[dict[str, float]]:
        """MiB at its highest of evaluating splits of each size of `--memory`."""
        found = []
        for count in self.arguments.memory:
            folder = self.work / f"memory-{case}-{count}"
            # Samples are held against the training split, too.
            splits = {"train": noise(count, SHAPE), "eval": noise(count, SHAPE, seed=1)}
            dataset = write_dataset(folder, "bench", splits)
            # On the CPU, whose memory is meant, and small: it is held against the images' size.
            config = run_config(case, 8, True)
            # A loss of the whole split would be a pass over it.
            config["trainer"] |= {"keep_best_on_train": True}
            train_run(load_run(write_run(folder, config)), dataset, folder / "run")
            command = [sys.executable, "-c", MEASURE, str(folder / "run"), str(folder)]
            uint8 = count * SHAPE[0] * SHAPE[1] * SHAPE[2] / 2**20
            found.append({"images": count, "uint8": uint8, "ours": peak_mib(command)})
        return found


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, with what it left to the device."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def report(arguments: argparse.Namespace, timed: dict[str, Any], memory: dict[str, Any]) -> None:
    """Tables and verdicts."""
    about = machine(arguments.no_cuda)
    device = about["gpu"] or f"{about['processor']}, {about['cores']} cores"
    print("| case | ours, images/s | networks alone, images/s | ours/networks, time |")
    print("| :-- | --: | --: | --: |")
    for case, found in timed.items():
        ours, floor = (
            found["images"] / statistics.median(found["seconds"][rival])
            for rival in ("ours", "floor")
        )
        low, high = found["quartiles"]
        shown = f"{found['ratio']:.3f} ({low:.3f}–{high:.3f})"
        print(f"| {case} | {ours:,.4g} | {floor:,.4g} | {shown} |")
    print(
        f"\n{device}, {about['threads']} threads, torch {package_versions()['torch']}; "
        f"width {arguments.width}, batches of {arguments.batch_size}, LPIPS "
        f"{TRUNKS[arguments.lpips].title}. Medians (quartiles) of {arguments.rounds} rounds.\n"
    )
    for case, found in timed.items():
        met = "met" if found["ratio"] <= BAR else "not met"
        print(f"- {case}: {found['ratio']:.3f} times, at most {BAR} is wanted: {met}")
    for case, rows in memory.items():
        print(f"\n| images, {case} | uint8, MiB | evaluate, MiB |\n| --: | --: | --: |")
        for row in rows:
            print(f"| {row['images']:,} | {row['uint8']:.0f} | {row['ours']:.0f} |")
        more = rows[-1]["uint8"] - rows[0]["uint8"]
        growth = rows[-1]["ours"] - rows[0]["ours"]
        print(f"\n{growth:+.0f} MiB for {more:.0f} MiB more images: {growth / more:.2f} times")


def parser() -> Parser:
    """The command line of `python -m benchmarks.evaluate`."""
    made = Parser(prog="python -m benchmarks.evaluate", description=__doc__.splitlines()[0])
    made.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), metavar="CASE")
    made.add_argument("--rounds", type=positive_int, default=20, metavar="N", help="20 by default")
    made.add_argument("--batch-size", type=positive_int, default=64, metavar="N", help="64")
    made.add_argument(
        "--batches", type=positive_int, default=1, metavar="N", help="of a turn (1; on a GPU more)"
    )
    made.add_argument("--width", type=positive_int, default=32, metavar="N", help="networks' (32)")
    made.add_argument("--lpips", choices=TRUNKS, default="vgg", help="its trunk (vgg)")
    made.add_argument(
        "--memory",
        type=positive_int,
        nargs="*",
        default=[2000, 8000],
        metavar="IMAGES",
        help="of the splits whose memory is measured (2000 8000; none: leave it out)",
    )
    made.add_argument("--no-cuda", action="store_true", help="on the CPU, though a GPU is here")
    made.add_argument("--json", type=Path, metavar="FILE", help="everything measured, as JSON")
    return made


def main() -> int:
    arguments = parser().parse_args()
    arguments.memory.sort()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        timed = {case: bench.time_case(case) for case in arguments.cases}
        memory = {"vae": bench.memory("vae")} if len(arguments.memory) > 1 else {}
    report(arguments, timed, memory)
    if arguments.json:
        about = {"machine": machine(arguments.no_cuda), "versions": package_versions()}
        write_json(arguments.json, about | {"cases": timed, "memory": memory})
    return 0


if __name__ == "__main__":
    run_command("benchmarks.evaluate", main)
