"""Anonymous memory of preparing and of training on CelebA, ours beside stock Pythae.

    python -m benchmarks.memory [--raw CELEBA_FOLDER] [--images 1000 10000]

Each measurement is a process of its own, whose Pss_Anon (and that of its children) is read from
/proc twenty times a second; the figure is the highest sum. Anonymous memory is what a process
cannot give back: pages of a mapped file do not count, floats made of them do. Training is one
epoch of a width-8 convnet on 64x64 images. Ours maps the uint8 `.npz`; stock Pythae is handed the
array its own scripts make of it, `npz / 255.0`. Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from study.provenance import ROOT

SIDE = 64
FRAME = (178, 218)

TRAIN = """
import sys
from pathlib import Path
from study.datasets import open_dataset
from study.runs import load_run
run = load_run(Path("configs/runs/celeba64/vae.json"), {
    "networks.width": 8, "trainer.num_epochs": 1, "trainer.no_cuda": True, "dataset": "bench",
    # As the training batch: every batch of every size of data set is then equally large.
    "trainer.per_device_eval_batch_size": 64})
dataset = open_dataset(Path(sys.argv[1]), "bench")
"""
OURS = (
    TRAIN
    + """
from train.run import train_run
train_run(run, dataset, Path(sys.argv[2]))
"""
)
STOCK = (
    TRAIN
    + """
import logging, os
import numpy as np
from pythae.pipelines import TrainingPipeline
from train.models import build_model
run = run.with_shape(dataset.shape)
run.trainer.output_dir = sys.argv[2]
pipeline = TrainingPipeline(model=build_model(run), training_config=run.trainer)
arrays = [np.load(dataset.path(split))["data"] / 255.0 for split in ("train", "eval")]
pipeline(*arrays)
"""
)
NOTHING = "import train.run\n"


def anonymous_kib(pid: int) -> int:
    """Anonymous memory of a process and all its descendants, in KiB.

    Pss_Anon, in which pages that processes share count once: of a child that is just forked (git,
    say, about to be started) RssAnon would count the whole parent again.
    """
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += anonymous_kib(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile
    return total


def peak_mib(command: list[str]) -> float:
    """Run `command`; the highest anonymous memory of its processes together, in MiB."""
    # A file, since a pipe that nobody reads fills up and stops the process.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_kib(process.pid))
            time.sleep(0.05)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command[:4])} ...: {errors.read()[-400:]}")
    return peak / 1024


def make_raw(folder: Path, count: int) -> None:
    """A made CelebA: `count` JPEGs of noise in the official layout, eight tenths of them train."""
    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(1, count + 1):
        small = Image.fromarray(rng.integers(0, 256, (27, 22, 3), dtype=np.uint8))
        small.resize(FRAME).save(images / f"{number:06}.jpg", quality=90)
        lines.append(f"{number:06}.jpg {int(number > 0.8 * count)}")
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")


def prepare(raw: Path, out: Path, count: int) -> list[str]:
    """The command that prepares `count` images, eight tenths of them train."""
    train = count * 8 // 10
    limits = ["--limit-train", str(train), "--limit-eval", str(count - train)]
    options = ["--image-size", str(SIDE), "--subset", "--name", "bench", *limits]
    module = [sys.executable, "-m", "data_prep", "celeba"]
    return [*module, "--raw", str(raw), "--out", str(out), *options]


def measure(raw: Path, work: Path, count: int) -> dict[str, float]:
    """MiB of each of the three, and the size of the images as uint8."""
    data = work / f"data-{count}"
    found = {"uint8": count * 3 * SIDE**2 / 2**20}
    found["prepare"] = peak_mib(prepare(raw, data, count))
    for name, program in (("ours", OURS), ("stock", STOCK)):
        out = work / f"{name}-{count}"
        found[name] = peak_mib([sys.executable, "-c", program, str(data), str(out)])
    return found


def report(counts: list[int], found: list[dict[str, float]], idle: float) -> None:
    """Table and ratios."""
    print(f"anonymous memory, MiB at its highest; a process that only imports: {idle:.0f}")
    print("| images | uint8 | prepare | train, ours | train, stock Pythae |")
    print("| --: | --: | --: | --: | --: |")
    for count, row in zip(counts, found, strict=True):
        cells = " | ".join(f"{row[key]:.0f}" for key in ("uint8", "prepare", "ours", "stock"))
        print(f"| {count:,} | {cells} |")
    more = found[-1]["uint8"] - found[0]["uint8"]
    for key in ("prepare", "ours", "stock"):
        growth = found[-1][key] - found[0][key]
        print(f"{key}: {growth:+.0f} MiB for {more:.0f} MiB more images: {growth / more:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help="real CelebA; without it, made JPEGs")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    arguments = parser.parse_args()
    counts = sorted(arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        raw = arguments.raw
        if raw is None:
            raw = work / "raw"
            make_raw(raw, counts[-1])
        raw = raw.resolve()
        idle = peak_mib([sys.executable, "-c", NOTHING])
        report(counts, [measure(raw, work, count) for count in counts], idle)


if __name__ == "__main__":
    main()
