"""Batches by their three ways, and images staged to a disk of the machine's own."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from study.errors import StudyError
from study.provenance import ROOT
from tests import made
from train import loader
from train.dataset import ImageDataset
from train.loader import BatchLoader, choose_way, epoch_order, move_whole
from train.staging import stage_folder

WAYS = ("direct", "resident", "streamed")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """70 images, all 256 levels among them."""
    folder = made.dataset(tmp_path_factory.mktemp("data"), shape=(3, 20, 20))
    return ImageDataset(folder / "train_data.npz")


def floats(data: ImageDataset) -> torch.Tensor:
    """All images as they have ever been scaled: divided by 255 in float32 on the CPU."""
    return torch.from_numpy(data.images.astype(np.float32) / np.float32(255))


def drawn(batches: BatchLoader, epoch: int, start: int = 0) -> list[torch.Tensor]:
    return [batch.data.cpu() for batch in batches.batches(epoch, start)]


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


# Staging ---------------------------------------------------------------------------------------


def test_staged_images_are_the_files_and_leave_no_name(tmp_path: Path, data, capsys) -> None:
    copied = ImageDataset(data.path, str(tmp_path / "made" / "here"))
    assert np.array_equal(copied.images, data.images)
    assert capsys.readouterr().err == (
        f"{data.path}: 84.0 kB of images copied to {tmp_path / 'made' / 'here'} for this run\n"
    )
    assert not list((tmp_path / "made" / "here").iterdir())
    assert copied.images.filename is None, "not mapped from the source"
    got = drawn(BatchLoader(copied, 16, "cpu", 3), 1)
    assert torch.equal(torch.cat(got), floats(data)[epoch_order(3, 1, 70)])
    described = BatchLoader(copied, 16, "cpu", 3).describe()
    assert described == f"images gathered from the copy of {data.path} in {tmp_path / 'made/here'}"
    again = pickle.loads(pickle.dumps(copied))
    assert np.array_equal(again.images, data.images)
    assert Path(again.images.filename) == data.path
    assert capsys.readouterr().err == "", "a worker process stages nothing"


def test_images_that_move_to_the_device_are_not_staged(tmp_path: Path, data, capsys) -> None:
    dataset = ImageDataset(data.path, str(tmp_path / "here"))
    got = drawn(BatchLoader(dataset, 16, "cpu", None, "resident"), 1)
    assert torch.equal(torch.cat(got), floats(data))
    assert dataset[3].data.shape == (3, 20, 20)  # Pythae's checks
    assert capsys.readouterr().err == "" and not (tmp_path / "here").exists()


def test_staged_images_do_not_need_the_source(tmp_path: Path) -> None:
    file = made.dataset(tmp_path) / "train_data.npz"
    copied = ImageDataset(file, str(tmp_path))
    want = np.array(copied.images)
    file.write_bytes(bytes(file.stat().st_size))
    assert want.any() and np.array_equal(copied.images, want)


def test_variables_and_home_are_filled_in(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/somebody")
    assert stage_folder("$NODE_DISK/a") == stage_folder("${NODE_DISK}/a") == tmp_path / "a"
    assert stage_folder("~/b") == Path("/home/somebody/b")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$VAE_STUDY_NO_SUCH/x", r"the environment has no \$VAE_STUDY_NO_SUCH"),
        ("${VAE_STUDY_EMPTY}/x", r"the environment has no \$VAE_STUDY_EMPTY"),
        ("/scratch/$", r"a \$ that no name of a variable follows"),
        ("~vae-study-nobody/x", "no such user"),
    ],
)
def test_variable_that_is_not_set(text: str, problem: str, data, monkeypatch) -> None:
    monkeypatch.setenv("VAE_STUDY_EMPTY", "")
    with pytest.raises(StudyError, match=rf"^engine.stage_to: '.*': {problem}.*leave the key out"):
        ImageDataset(data.path, text)


def reads_where_it_lies(data: ImageDataset, folder: Path, capsys) -> str:
    """Why nothing was staged to `folder`; the images are the file's all the same."""
    dataset = ImageDataset(data.path, str(folder))
    assert Path(dataset.images.filename) == data.path
    assert np.array_equal(dataset.images, data.images)
    said = capsys.readouterr().err
    start, end = f"{data.path}: not copied to {folder} (", "): read where it lies\n"
    assert said.startswith(start) and said.endswith(end), said
    assert said.count("\n") == 1
    return said[len(start) : -len(end)]


def test_folder_that_cannot_be_had(tmp_path: Path, data, capsys) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "File exists" in reads_where_it_lies(data, file, capsys)
    assert "Not a directory" in reads_where_it_lies(data, file / "below", capsys)
    if Path("/proc").is_dir():  # which nobody can write to, root neither
        assert reads_where_it_lies(data, Path("/proc/vae-study"), capsys)


def test_compressed_images_are_not_staged(tmp_path: Path, data, capsys) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=data.images)
    dataset = ImageDataset(tmp_path / "a.npz", str(tmp_path / "here"))
    assert np.array_equal(dataset.images, data.images)
    assert "a.npz is compressed and was read into memory" in capsys.readouterr().err


STAGES = """
import sys, time
from pathlib import Path
from train.dataset import ImageDataset
dataset = ImageDataset(Path(sys.argv[1]), sys.argv[2])
print("starts", flush=True)
images = dataset.images
print(int(images.sum()), getattr(images, "filename", None), flush=True)
if sys.argv[3:]:
    time.sleep(60)
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
MOUNT = 'mount -t tmpfs -o size=64k tmpfs "$1" || exit 77; "$0" -c "$2" "$3" "$1" && ls -A "$1"'


def test_copy_that_breaks_off_in_the_middle(tmp_path: Path, data: ImageDataset) -> None:
    """A real failing write: no file may grow beyond 20 kB, in a process of its own."""
    words = [sys.executable, "-c", LIMIT + STAGES, str(data.path), str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["starts", str(data.images.sum()), str(data.path)]
    assert done.stderr == (
        f"{data.path}: not copied to {tmp_path} (File too large): read where it lies\n"
    )
    assert not list(tmp_path.iterdir())


def test_disk_without_room(tmp_path: Path, data: ImageDataset) -> None:
    """A real one: a file system of 64 KiB in a mount namespace of its own."""
    program = ["sh", "-c", MOUNT, sys.executable, str(tmp_path), STAGES, str(data.path)]
    words = ["unshare", "--map-root-user", "--mount", *program]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("mounting a small file system needs unshare")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this user may not mount a disk: {done.stderr.strip()}")
    assert done.stdout.split() == ["starts", str(data.images.sum()), str(data.path)]
    assert done.stderr == (
        f"{data.path}: not copied to {tmp_path} (65.5 kB free there, 84.0 kB needed): "
        f"read where it lies\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("when", ["copying", "copied"])
def test_nothing_is_left_behind_by_sigkill(when: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "a.npz", tmp_path / "disk"
    np.savez(file, data=np.ones((10_000, 3, 64, 64), np.uint8))  # 123 MB
    words = [sys.executable, "-c", STAGES, str(file), str(folder), "waits"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "starts\n"
            if when == "copied":
                assert process.stdout.readline().split()[0] == str(10_000 * 3 * 64 * 64)
            held = "maps" if when == "copied" else "fd"
            end = time.monotonic() + 30
            while str(folder) not in (seen := holds(process.pid, held)):
                assert process.poll() is None and time.monotonic() < end
            assert "(deleted)" in seen
            assert not list(folder.iterdir())
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not list(folder.iterdir())


def holds(pid: int, what: str) -> str:
    """The files that a process has open ("fd") or mapped ("maps"), as /proc has them."""
    place = Path(f"/proc/{pid}/{what}")
    if what == "maps":
        return place.read_text()
    names = []
    for link in place.iterdir():
        try:
            names.append(os.readlink(link))
        except FileNotFoundError:  # closed meanwhile
            continue
    return "\n".join(names)
