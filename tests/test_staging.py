"""Images staged to a disk of the machine's own."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from study.errors import StudyError
from study.provenance import ROOT
from tests import made
from tests.made_batches import drawn, floats
from train.dataset import ImageDataset
from train.loader import BatchLoader, epoch_order
from train.staging import stage_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """70 images, all 256 levels among them."""
    folder = made.dataset(tmp_path_factory.mktemp("data"), shape=(3, 20, 20))
    return ImageDataset(folder / "train_data.npz")


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
