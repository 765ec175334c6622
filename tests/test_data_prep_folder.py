"""Prepared folders: there whole or not at all, whatever happens on the way."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep import prepare as prepare_module
from data_prep.prepare import prepare
from study.datasets import open_dataset
from study.errors import StudyError
from study.npz import open_array
from tests.raw_data import COMMAND, ROOT, contents, fake_celeba, jpeg, refusal, run_cli

SHAPES = ("shapes", {}, None)
BLOCKED = 140


def dead_process() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def partial_name(name: str, process: int, host: str | None = None, what: str = "partial") -> str:
    return f".{name}.{what}-{host or platform.node()}-{process}"


def test_memmap_plain_numpy_and_checksums(tmp_path):
    folder = prepare(*SHAPES, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for split, entry in manifest["splits"].items():
        path = folder / entry["file"]
        content = path.read_bytes()
        assert entry["file"] == f"{split}_data.npz"
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        with np.load(path, allow_pickle=False) as loaded:
            assert loaded.files == ["data", "factors", "factor_names", "source"]
            for key in loaded.files:
                mapped = open_array(path, key)
                assert isinstance(mapped, np.memmap)
                assert mapped.dtype == loaded[key].dtype
                assert np.array_equal(mapped, loaded[key])
    assert open_dataset(tmp_path, "shapes", verify=True).shape == (1, 28, 28)


def test_already_prepared_is_not_touched(tmp_path, capsys):
    folder = prepare(*SHAPES, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in [folder, *folder.iterdir()]}
    capsys.readouterr()
    assert prepare(*SHAPES, tmp_path) == folder
    assert capsys.readouterr().out.endswith("; already prepared\n")
    assert {p: p.stat().st_mtime_ns for p in [folder, *folder.iterdir()]} == before


def test_other_options_are_refused_and_overwritten_when_asked(tmp_path):
    folder = prepare(*SHAPES, tmp_path)
    with pytest.raises(StudyError, match=r"shapes: prepared with seed 0, not 7; .*--overwrite"):
        prepare("shapes", {"seed": 7}, None, tmp_path)
    with pytest.raises(StudyError, match="prepared with dataset 'shapes', not 'celeba'"):
        prepare("celeba", {"image_size": 16}, tmp_path, tmp_path, name="shapes")
    before = contents(folder)
    prepare("shapes", {"seed": 7}, None, tmp_path, overwrite=True)
    assert contents(folder) != before
    assert [p.name for p in tmp_path.iterdir()] == ["shapes"]


def test_failed_overwrite_leaves_the_old_one(tmp_path, monkeypatch):
    folder = prepare(*SHAPES, tmp_path)
    before = contents(folder)
    with pytest.raises(StudyError):
        prepare("mnist", {}, tmp_path / "nowhere", tmp_path, name="shapes", overwrite=True)
    real_rename = Path.rename

    def rename(self, target):
        if ".partial-" in self.name:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real_rename(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StudyError, match="Input/output error"):
        prepare("shapes", {"seed": 7}, None, tmp_path, overwrite=True)
    assert contents(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["shapes"]


def test_damaged_one_is_refused_and_says_the_way_out(tmp_path):
    folder = prepare(*SHAPES, tmp_path)
    os.truncate(folder / "eval_data.npz", 1000)
    with pytest.raises(StudyError, match=r"eval_data\.npz: 1000 bytes.*--overwrite"):
        prepare(*SHAPES, tmp_path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StudyError, match=r"manifest\.json: not JSON.*--overwrite"):
        prepare(*SHAPES, tmp_path)
    (folder / "manifest.json").write_text('{"dataset": "shapes", "options": []}')
    with pytest.raises(StudyError, match=r"manifest\.json: key 'options'.*--overwrite"):
        prepare(*SHAPES, tmp_path)
    prepare(*SHAPES, tmp_path, overwrite=True)
    open_dataset(tmp_path, "shapes", verify=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_and_file_are_refused(tmp_path, overwrite):
    mine = tmp_path / "shapes" / "thesis.tex"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(StudyError, match="shapes: not empty and no prepared data set"):
        prepare(*SHAPES, tmp_path, overwrite=overwrite)
    assert mine.read_text() == "precious"
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StudyError, match="file: a file stands there"):
        prepare(*SHAPES, tmp_path, name="file", overwrite=overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "shapes"]


def test_empty_folder_is_taken(tmp_path):
    (tmp_path / "shapes").mkdir()
    open_dataset(prepare(*SHAPES, tmp_path).parent, "shapes", verify=True)


def test_link_to_the_same_data_set_is_taken_as_it_is(tmp_path, capsys):
    prepare(*SHAPES, tmp_path / "scratch")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shapes").symlink_to(tmp_path / "scratch" / "shapes")
    prepare(*SHAPES, tmp_path / "out")
    assert "already prepared" in capsys.readouterr().out
    assert (tmp_path / "out" / "shapes").is_symlink()


@pytest.mark.parametrize(
    ("target", "overwrite"),
    [("empty", False), ("empty", True), ("prepared", True), ("nowhere", False), ("nowhere", True)],
)
def test_link_for_a_folder_is_refused_at_once(tmp_path, capsys, monkeypatch, target, overwrite):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    for folder in (out, scratch / "empty"):
        folder.mkdir(parents=True)
    before = contents(prepare(*SHAPES, scratch, name="prepared"))
    (out / "shapes").symlink_to(Path("..") / "scratch" / target)
    monkeypatch.setattr(prepare_module, "_make", None)
    with pytest.raises(StudyError) as error:
        prepare(*SHAPES, out, overwrite=overwrite)
    assert str(error.value) == (
        f"{out / 'shapes'}: a symbolic link, where a real folder or nothing is wanted; remove the "
        f"link or give the folder that it points into: --out {scratch}"
    )
    assert (out / "shapes").is_symlink()
    assert [p.name for p in out.iterdir()] == ["shapes"]
    assert contents(scratch / "prepared") == before
    assert list((scratch / "empty").iterdir()) == []


def test_link_above_the_folder_is_followed(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to("scratch")
    prepare(*SHAPES, tmp_path / "out")
    open_dataset(tmp_path / "scratch", "shapes", verify=True)
    prepare("shapes", {"seed": 7}, None, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["shapes"]


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "A"])
def test_bad_names(tmp_path, capsys, name):
    assert f"'{name}'" in refusal(capsys, "shapes", "--name", name, out=tmp_path / "out")


def test_out_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_cli("shapes", "--out", tmp_path / "file" / "data")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert str(tmp_path / "file") in done.stderr


def test_out_that_may_not_be_written(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    if os.access(out, os.W_OK):
        pytest.skip("this user may write anywhere")
    line = refusal(capsys, "shapes", out=out)
    assert f"{out}/" in line
    assert "Permission denied" in line


@pytest.mark.parametrize("there", [False, True])
def test_out_that_may_not_be_written_by_root_either(tmp_path, capsys, monkeypatch, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
    denied = out / partial_name("shapes", os.getpid()) if there else out
    real_mkdir = Path.mkdir

    def mkdir(self, *arguments, **kwargs):
        if self == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real_mkdir(self, *arguments, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert refusal(capsys, "shapes", out=out) == f"data_prep: {denied}: Permission denied\n"
    assert out.exists() == there


def test_full_disk(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare_module, "write_npz", full)
    line = refusal(capsys, "shapes", out=tmp_path / "out")
    assert line == f"data_prep: {tmp_path / 'out' / 'shapes'}: No space left on device\n"


def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path):
    dead = dead_process()
    gone = [
        partial_name("celeba64", dead),
        partial_name("shapes", os.getpid()),
        partial_name("shapes", dead, what="replaced"),
    ]
    stay = [
        partial_name("mnist", os.getppid()),
        partial_name("mnist", dead, host="other-node"),
        ".mnist.partial-",
    ]
    for name in gone + stay:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train_data.npz").write_text("half")
    (tmp_path / "shapes").mkdir()
    prepare(*SHAPES, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stay, "shapes"])


def test_killed_between_two_renames_the_old_one_comes_back(tmp_path):
    folder = prepare(*SHAPES, tmp_path)
    before = contents(folder)
    folder.rename(tmp_path / partial_name("shapes", dead_process(), what="replaced"))
    prepare("shapes", {"clean": True}, None, tmp_path)
    assert contents(folder) == before


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in listed]


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition, what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def stuck(tmp_path):
    """A preparation in the middle of its work: one image is a pipe into which nobody writes."""
    raw = fake_celeba(tmp_path / "raw", train=200, eval_=5, test=0)
    pipe = raw / "img_align_celeba" / f"{BLOCKED:06d}.jpg"
    pipe.unlink()
    os.mkfifo(pipe)
    arguments = ["celeba", "--raw", raw, "--subset", "--image-size", 64, "--workers", 2]
    command = [*map(str, [*COMMAND, *arguments]), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def halfway():
        assert process.poll() is None, process.communicate()
        # The first two chunks of 64 are written, the third holds the pipe.
        files = list((tmp_path / "out").glob(".celeba64.partial-*/train_data.npz"))
        return files and files[0].stat().st_size > 64 * 3 * 64 * 64

    wait_until(halfway, "nothing was written")
    yield process, pipe, arguments
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_in_the_middle(stuck, tmp_path):
    process, pipe, arguments = stuck
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(running, workers)), "workers outlived their parent")
    out = tmp_path / "out"
    left = [".celeba64.lock", partial_name("celeba64", process.pid)]
    assert sorted(p.name for p in out.iterdir()) == left
    pipe.unlink()
    pipe.write_bytes(jpeg(BLOCKED))
    done = run_cli(*arguments, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert [p.name for p in out.iterdir()] == ["celeba64"]
    options = {"image_size": 64, "subset": True}
    undisturbed = prepare("celeba", options, pipe.parent.parent, tmp_path / "two", workers=1)
    assert contents(out / "celeba64") == contents(undisturbed)


def switches(pid: int) -> int:
    """How often the main thread of a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])


def sleeping(pid: int) -> int:
    """`switches`, once the main thread has slept for half a second: it waits for its workers."""
    seen = [-1]

    def still():
        seen.append(switches(pid))
        time.sleep(0.5)
        return seen[-1] == switches(pid)

    wait_until(still, "the main thread never waited")
    return seen[-1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [(signal.SIGINT, 130, "data_prep: interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_interrupted_in_the_middle(stuck, tmp_path, sent, status, said):
    process, pipe, _ = stuck
    before = sleeping(process.pid)
    told: list[float] = []

    def taken_in() -> bool:
        if switches(process.pid) > before:
            return True
        # The kernel may give a signal to another thread than the main one, which then sleeps on:
        # whoever sees nothing happen presses Ctrl-C once more.
        if not told or time.monotonic() > told[-1] + 10:
            told.append(time.monotonic())
            # As a terminal sends it: to every process at once.
            os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
        return False

    # It has taken the signal in when its main thread woke and went to sleep again, to wait for its
    # workers; before that the worker's answer, that an empty file is no JPEG, could come first.
    wait_until(taken_in, "the signal was not taken in")
    time.sleep(1)
    os.close(os.open(pipe, os.O_WRONLY))
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (status, said)
    assert list((tmp_path / "out").iterdir()) == []
