"""Batches by their three ways: the same bits in the same order, no thread and no memory left."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from study.provenance import ROOT
from tests import made
from tests.made_batches import drawn, floats
from train import loader
from train.dataset import ImageDataset
from train.loader import BatchLoader, choose_way, epoch_order, move_whole

WAYS = ("direct", "resident", "streamed")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """70 images, all 256 levels among them."""
    folder = made.dataset(tmp_path_factory.mktemp("data"), shape=(3, 20, 20))
    return ImageDataset(folder / "train_data.npz")


def of_loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    yield
    assert not of_loaders()


def test_order_is_a_permutation_and_a_pure_function() -> None:
    orders = {(seed, epoch): epoch_order(seed, epoch, 500) for seed in (0, 3) for epoch in (1, 2)}
    np.random.seed(9)
    torch.manual_seed(9)
    for (seed, epoch), order in orders.items():
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(500))
        assert np.array_equal(order, epoch_order(seed, epoch, 500))
    assert len({order.tobytes() for order in orders.values()}) == 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_bits_in_the_same_order(way, device, data: ImageDataset) -> None:
    want = floats(data)
    assert len(np.unique(data.images)) > 200
    batches = BatchLoader(data, 16, device, seed=3, way=way)
    assert (batches.way, len(batches), len(batches.dataset)) == (way, 5, 70)
    for epoch in (1, 2):
        got = drawn(batches, epoch)
        assert [len(batch) for batch in got] == [16, 16, 16, 16, 6]
        assert got[0].dtype == torch.float32
        assert torch.equal(torch.cat(got), want[epoch_order(3, epoch, 70)])
        for step, batch in enumerate(got):
            assert torch.equal(batch, want[batches.indices(epoch, step)])
    assert next(iter(batches)).data.device.type == device
    assert torch.equal(torch.cat([b.data.cpu() for b in batches]), want[epoch_order(3, 1, 70)])


@pytest.mark.parametrize("device", DEVICES)
def test_all_256_levels_have_the_cpus_bits(device: str, tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    np.savez(tmp_path / "a.npz", data=levels)
    for way in WAYS:
        [batch] = drawn(BatchLoader(ImageDataset(tmp_path / "a.npz"), 4, device, None, way), 1)
        assert np.array_equal(batch.numpy(), (levels / 255.0).astype(np.float32))


@pytest.mark.parametrize("way", WAYS)
def test_without_a_seed_every_epoch_is_in_file_order(way: str, data: ImageDataset) -> None:
    batches = BatchLoader(data, 32, "cpu", None, way)
    for epoch in (1, 7):
        assert torch.equal(torch.cat(drawn(batches, epoch)), floats(data))
    assert batches.indices(7, 2).tolist() == list(range(64, 70))


def test_batches_are_a_dataloaders_of_the_same_order(data: ImageDataset) -> None:
    """The size of the last batch too: `drop_last` is false in Pythae."""
    order = epoch_order(5, 2, 70).tolist()
    stock = DataLoader(data, 8, sampler=order, collate_fn=lambda items: items)
    stacked = [torch.stack([item.data for item in items]) for items in stock]
    got = drawn(BatchLoader(data, 8, "cpu", 5), 2)
    assert len(got) == len(stock) == 9
    assert all(torch.equal(a, b) for a, b in zip(got, stacked, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_goes_on_from_any_batch(way: str, data: ImageDataset) -> None:
    whole = drawn(BatchLoader(data, 16, "cpu", 3, way), 4)
    for start in range(6):
        rest = drawn(BatchLoader(data, 16, "cpu", 3, way), 4, start)
        assert len(rest) == 5 - start
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))
    for start in (-1, 6):
        with pytest.raises(ValueError, match=f"batch {start} of an epoch of 5"):
            drawn(BatchLoader(data, 16, "cpu", 3, way), 4, start)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("prefetch", "workers"), [(1, 1), (2, 0), (3, 2), (4, 4), (50, 3)])
def test_depth_and_workers_change_nothing(prefetch, workers, device, data: ImageDataset) -> None:
    """Every batch is held until the end: none may lie in a buffer that was used again."""
    got = drawn(BatchLoader(data, 4, device, 3, "streamed", prefetch, workers), 1)
    assert torch.equal(torch.cat(got), floats(data)[epoch_order(3, 1, 70)])


class Stop(Exception):
    """What a consumer raises."""


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_threads_end_when_the_consumer_fails(error: type, data: ImageDataset) -> None:
    with pytest.raises(error):
        for _ in BatchLoader(data, 4, "cpu", 3, "streamed").batches(1):
            assert of_loaders()
            raise error


def test_threads_end_when_the_consumer_closes_early(data: ImageDataset) -> None:
    batches = BatchLoader(data, 4, "cpu", 3, "streamed", workers=2).batches(1)
    next(batches)
    assert of_loaders()
    batches.close()
    assert not of_loaders()
    next(iter(BatchLoader(data, 4, "cpu", 3, "streamed")))  # as Pythae's sanity check does
    assert not of_loaders()


def test_an_error_in_the_thread_reaches_the_consumer(data: ImageDataset, monkeypatch) -> None:
    real = loader.np.take

    def take(images: np.ndarray, indices: np.ndarray, **how: object) -> np.ndarray:
        if 69 in indices:
            raise OSError("the file server is gone")
        return real(images, indices, **how)

    batches = BatchLoader(data, 16, "cpu", None, "streamed").batches(1)
    monkeypatch.setattr(loader.np, "take", take)
    for _ in range(4):
        next(batches)
    with pytest.raises(OSError, match="the file server is gone"):
        next(batches)
    assert not of_loaders()


ABANDONS = """
import sys
from pathlib import Path
from train.dataset import ImageDataset
from train.loader import BatchLoader
batches = BatchLoader(ImageDataset(Path(sys.argv[1])), 4, "cpu", 3, "streamed").batches(1)
next(batches)
sys.exit(7)
"""


def test_a_process_that_leaves_its_batches_open_ends(data: ImageDataset) -> None:
    words = [sys.executable, "-c", ABANDONS, str(data.path)]
    assert subprocess.run(words, cwd=ROOT, timeout=60).returncode == 7


def test_way_is_chosen_by_the_free_memory_of_the_gpu(data: ImageDataset, monkeypatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_way(cpu, 10) == "direct"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    assert choose_way(cuda, 500) == "resident"
    assert choose_way(cuda, 501) == "streamed"
    said = {way: BatchLoader(data, 4, "cpu", 3, way).describe() for way in WAYS}
    assert said == {
        "direct": f"images gathered from {data.path}",
        "resident": "84.0 kB of images in memory",
        "streamed": f"images gathered from {data.path}, prefetched",
    }
    assert BatchLoader(data, 4, "cpu", 3).way == "direct"


def test_moved_whole_in_chunks(data: ImageDataset, monkeypatch) -> None:
    monkeypatch.setattr(loader, "CHUNK", 5000)  # four images, the last chunk two
    moved = move_whole(data.images, torch.empty(data.images.shape, dtype=torch.uint8))
    assert np.array_equal(moved.numpy(), data.images)
    assert moved.data_ptr() != torch.from_numpy(data.images).data_ptr()


@gpu
def test_gpu_holds_what_fits(data: ImageDataset) -> None:
    batches = BatchLoader(data, 16, "cuda", 3)
    assert (batches.way, batches.describe()) == ("resident", "84.0 kB of images on the GPU")


@gpu
@pytest.mark.parametrize("way", ["resident", "streamed"])
def test_no_step_waits_for_the_gpu(way: str, data: ImageDataset) -> None:
    batches = BatchLoader(data, 4, "cuda", 3, way).batches(1)
    next(batches)  # the order is moved once an epoch
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            next(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        batches.close()


@gpu
def test_buffers_are_not_filled_before_their_copy_is_done(tmp_path: Path) -> None:
    """The GPU is kept busy, so that the copies lag behind the threads that gather."""
    images = np.random.default_rng(0).integers(0, 256, (512, 3, 64, 64), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", data=images)
    dataset = ImageDataset(tmp_path / "a.npz")
    work = torch.randn(4096, 4096, device="cuda")
    got = []
    for batch in BatchLoader(dataset, 16, "cuda", 3, "streamed", prefetch=2, workers=2).batches(1):
        got.append(batch.data)
        for _ in range(10):
            work = work @ work / 64
    assert torch.equal(torch.cat(got).cpu(), floats(dataset)[epoch_order(3, 1, 512)])


MEMORY = """
import os, sys, threading, time
from pathlib import Path
import torch
from benchmarks.memory import anonymous_kib
from train.dataset import ImageDataset
from train.loader import BatchLoader, move_whole
small, large, target, device, *ways = sys.argv[1:]
def draw(way, dataset):
    if way == "chunked":  # into a file, so that what is left is the copy's own
        size = dataset.images.nbytes
        aside = torch.from_file(target, shared=True, size=size, dtype=torch.uint8)
        move_whole(dataset.images, aside.view(dataset.images.shape))
        return
    for batch in BatchLoader(dataset, 64, device, 3, way).batches(1):
        pass
seen, stop = [], threading.Event()
def watch():
    while not stop.is_set():
        seen.append(anonymous_kib(os.getpid()))
        time.sleep(0.001)
def highest(file, epochs):
    seen.clear()
    for way in ways:
        for _ in range(epochs):
            draw(way, ImageDataset(Path(file)))
    return max(seen)
threading.Thread(target=watch, daemon=True).start()
# as many batches of either, so that what the allocator keeps and what is in flight is level
before = highest(small, 20)
print(highest(large, 1) - before)
stop.set()
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc: Linux only"
)


def growth(folder: Path, device: str, *ways: str) -> float:
    """The highest anonymous memory of 8,000 images above that of 400, over the former's uint8."""
    noise = np.random.default_rng(0).integers(0, 256, (8000, 3, 64, 64), dtype=np.uint8)
    np.savez(folder / "small.npz", data=noise[:400])
    np.savez(folder / "large.npz", data=noise)
    files = [str(folder / name) for name in ("small.npz", "large.npz", "target")]
    words = [sys.executable, "-c", MEMORY, *files, device, *ways]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout) * 1024 / noise.nbytes


@needs_proc
def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    assert growth(tmp_path, "cpu", "direct", "streamed", "chunked") < 0.15
    assert growth(tmp_path, "cpu", "resident") > 0.8, "on the CPU they are in memory"


@needs_proc
@gpu
def test_memory_of_the_host_does_not_grow_beside_a_gpu(tmp_path: Path) -> None:
    assert growth(tmp_path, "cuda", "resident", "streamed") < 0.15
