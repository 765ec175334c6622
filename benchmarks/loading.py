"""Images a second of drawing batches: each of our ways, stock Pythae's loader, and the floor.

    python -m benchmarks.loading [--images 10000] [--rounds 5] [--device cuda]

Nothing is trained: an epoch of batches is drawn and dropped, by each in turn, as often as there
are rounds; figures are medians. Stock Pythae's is the `DataLoader` of its trainers, shuffled, over
the float data set that its `DataProcessor` makes; on a GPU its batches are moved there as its
trainers do. The floor is numpy alone in one thread: gather a batch of bytes into a buffer, divide
it into another. Images are noise.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from pythae.data.preprocessors import DataProcessor
from pythae.trainers.base_trainer.base_trainer import collate_dataset_output
from torch.utils.data import DataLoader

from train.dataset import ImageDataset
from train.execution import wait_for
from train.loader import BatchLoader, Way, epoch_order

CASES = ((32, (3, 56, 56)), (64, (3, 64, 64)), (64, (1, 28, 28)))
Epoch = Callable[[int], Iterable[object]]


def floor(images: np.ndarray, size: int) -> Epoch:
    """numpy alone: no batch is kept, none leaves the CPU."""
    images = np.asarray(images)
    gathered = np.empty((size, *images.shape[1:]), np.uint8)
    floats = np.empty(gathered.shape, np.float32)

    def epoch(number: int) -> Iterable[object]:
        order = epoch_order(0, number, len(images))
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            batch = gathered[: len(indices)]
            np.take(images, indices, axis=0, out=batch, mode="clip")
            yield np.divide(batch, np.float32(255), out=floats[: len(indices)])

    return epoch


def stock(images: np.ndarray, size: int, device: torch.device) -> Epoch:
    """What `BaseTrainer.get_train_dataloader` makes of the array that Pythae's scripts make."""
    processor = DataProcessor()
    dataset = processor.to_dataset(processor.process_data(images / 255.0))
    loader = DataLoader(dataset, size, shuffle=True, collate_fn=collate_dataset_output)
    return lambda number: (batch["data"].to(device) for batch in loader)


def rate(epoch: Epoch, number: int, count: int, device: torch.device) -> float:
    """Images a second of one epoch."""
    start = time.perf_counter()
    for _ in epoch(number):
        pass
    wait_for(device)
    return count / (time.perf_counter() - start)


def measure(size: int, shape: tuple[int, ...], arguments: argparse.Namespace) -> dict[str, float]:
    """Median images a second of each rival on one shape of batch."""
    device = torch.device(arguments.device)
    ways: list[Way] = ["resident", "streamed"] if device.type == "cuda" else ["direct"]
    count = arguments.images
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        noise = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
        np.savez(file, data=noise)
        dataset = ImageDataset(file)
        rivals: dict[str, Epoch] = {"floor": floor(dataset.images, size)}
        for way in ways:
            rivals[way] = BatchLoader(dataset, size, device, 0, way).batches
        rivals["stock Pythae"] = stock(noise, size, device)
        found: dict[str, list[float]] = {name: [] for name in rivals}
        for number in range(arguments.rounds + 1):
            for name, epoch in rivals.items():
                images = rate(epoch, number, count, device)
                if number:  # the first round warms up
                    found[name].append(images)
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    print(f"{arguments.images:,} images, {torch.get_num_threads()} threads, {arguments.device}")
    print("| batch | drawn by | images/s | µs a batch | x stock Pythae | x floor |")
    print("| --- | --- | --: | --: | --: | --: |")
    for size, shape in CASES:
        found = measure(size, shape, arguments)
        for name, images in found.items():
            ratios = [images / found[rival] for rival in ("stock Pythae", "floor")]
            cells = [f"{images:,.0f}", f"{size / images * 1e6:,.0f}", *(f"{r:.2f}" for r in ratios)]
            print(f"| {size} of {'x'.join(map(str, shape))} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
