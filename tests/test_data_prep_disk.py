"""A disk that fills up, and two preparations of one folder at once, with real processes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep import prepare as prepare_module
from data_prep.folder import put_into_place
from data_prep.prepare import prepare
from study.datasets import open_dataset
from study.errors import StudyError
from study.lock import lock_file
from study.owner import look
from tests.raw_data import COMMAND, ROOT, contents, fake_celeba, jpeg, refusal

SHAPES = [*COMMAND, "shapes", "--overwrite", "--seed", "7"]
# As if the file system did not say how full it is, as where a quota ends it.
UNTOLD = """
import shutil, types
shutil.disk_usage = lambda path: types.SimpleNamespace(free=1 << 60)
"""
# As on a file system without locks.
LOCKLESS = """
import errno, fcntl
def flock(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def patched(code: str, arguments: list[str]) -> list[str]:
    """The command line in a process that runs `code` first."""
    run = "import runpy, sys; sys.argv[0] = 'data_prep'; runpy.run_module('data_prep', None, "
    return [sys.executable, "-c", f"{code}\n{run}'__main__')", *arguments[3:]]


def test_too_little_room_is_said_at_once(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    monkeypatch.setattr(prepare_module, "_write", None)
    line = refusal(capsys, "shapes", out=tmp_path / "out")
    assert f"{tmp_path / 'out'}: 6.3 MB are needed, 1.0 MB are free" in line


@pytest.mark.parametrize("limit", [10_000, 3_000_000])
def test_file_that_may_not_grow(tmp_path, limit):
    """A real refusal by the kernel in the middle of the images (EFBIG)."""
    before = contents(prepare("shapes", {}, None, tmp_path))
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    command = [*patched(code, SHAPES), "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"data_prep: {tmp_path / 'shapes'}: File too large\n"
    assert contents(tmp_path / "shapes") == before
    assert [p.name for p in tmp_path.iterdir()] == ["shapes"]


@pytest.mark.parametrize("code", ["", UNTOLD], ids=["told", "untold"])
def test_disk_that_is_full(tmp_path, code):
    """A file system of 9 MB that holds the 6 MB of the shapes once, not twice."""
    command = shlex.join([*patched(code, SHAPES), "--out", str(tmp_path / "disk")])
    first = shlex.join([*COMMAND, "shapes", "--out", str(tmp_path / "disk")])
    disk = shlex.quote(str(tmp_path / "disk"))
    script = f"""
    mount -t tmpfs -o size=9m tmpfs {disk} || exit 77
    {first} > /dev/null || exit 78
    (cd {disk}/shapes && sha256sum *) > {disk}/../before
    {command}
    status=$?
    (cd {disk}/shapes && sha256sum *) > {disk}/../after
    ls -A {disk} > {disk}/../left
    exit $status
    """
    (tmp_path / "disk").mkdir()
    if not shutil.which("unshare"):
        pytest.skip("no unshare here, which a disk of one's own takes")
    # Mounted in a name space of its own: gone with the process.
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode in (1, 77) and "data_prep" not in done.stderr:
        pytest.skip(f"this user may not mount a disk: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (2, "")
    said = f"{tmp_path}/disk/shapes: No space left on device" if code else "6.3 MB are needed, "
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text() != ""
    assert (tmp_path / "left").read_text() == "shapes\n"


def test_the_second_of_two_is_told_and_the_first_goes_on(tmp_path):
    raw = fake_celeba(tmp_path / "raw", train=3, eval_=1, test=0)
    pipe = raw / "img_align_celeba" / "000002.jpg"
    pipe.unlink()
    os.mkfifo(pipe)
    arguments = ["celeba", "--raw", str(raw), "--subset", "--image-size", "16", "--workers", "1"]
    command = [*COMMAND, *arguments, "--out", str(tmp_path / "out")]
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **how) as first:
        try:
            end = time.monotonic() + 60
            while not list((tmp_path / "out").glob(".celeba16.partial-*/train_data.npz")):
                assert first.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            owner = look(lock_file(tmp_path / "out" / "celeba16")).owner
            second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert (second.returncode, second.stdout) == (2, "")
            assert second.stderr == (
                f"data_prep: {tmp_path / 'out' / 'celeba16'}: another process is at work there "
                f"({owner}); wait for it, or stop it first\n"
            )
            pipe.write_bytes(jpeg(2))  # what the first one waits for
            said, complaint = first.communicate(timeout=60)
        finally:
            first.kill()
    assert (first.returncode, complaint, said.count("\n")) == (0, "", 1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["celeba16"]
    open_dataset(tmp_path / "out", "celeba16", verify=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_at_once_without_locks(tmp_path, overwrite):
    """Where the file system has no locks: one data set, whole, and nothing beside it."""
    if overwrite:
        prepare("shapes", {"seed": 3}, None, tmp_path)
    arguments = SHAPES if overwrite else [*COMMAND, "shapes", "--seed", "7"]
    command = [*patched(LOCKLESS, arguments), "--out", str(tmp_path)]
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **how) for _ in range(2)]
    ended = [(process.communicate(timeout=90), process.returncode) for process in both]
    for (said, complaint), status in ended:
        assert status in (0, 2)
        assert (said + complaint).count("\n") == 1
        assert status == 0 or "another process is at work there" in complaint
    assert 0 in [status for _, status in ended]
    assert [p.name for p in tmp_path.iterdir()] == ["shapes"]
    folder = open_dataset(tmp_path, "shapes", verify=True).folder
    assert json.loads((folder / "manifest.json").read_text())["options"]["seed"] == 7


@pytest.mark.parametrize("when", ["before the old one is aside", "after"])
def test_overtaken_between_two_renames(tmp_path, monkeypatch, when):
    """Without locks: another process's folder takes the place in between, and stays."""
    mine, target = tmp_path / ".x.partial", tmp_path / "x"
    for folder, text in ((mine, "mine"), (target, "old"), (tmp_path / "other", "other")):
        folder.mkdir()
        (folder / "manifest.json").write_text(text)
    real = Path.rename

    def rename(self, to):
        if self == target and when.startswith("before"):
            real(self, tmp_path / "moved")
            real(tmp_path / "other", target)
            raise FileNotFoundError(2, "No such file or directory", str(self))
        if self == mine and not when.startswith("before"):
            real(tmp_path / "other", target)
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StudyError, match="x: another process was at work there"):
        put_into_place(mine, target)
    assert (target / "manifest.json").read_text() == "other"
    assert not list(tmp_path.glob(".x.replaced*"))


def test_data_set_of_before_an_option_is_still_the_same(tmp_path, capsys):
    """A manifest without an option that came later: as if it said what the default is."""
    raw = fake_celeba(tmp_path / "raw", train=3, eval_=1, test=0)
    options = {"image_size": 16, "subset": True}
    folder = prepare("celeba", options, raw, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["options"]["skip_corrupt"], manifest["options"]["half_size"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    prepare("celeba", options, raw, tmp_path)
    assert capsys.readouterr().out.endswith("already prepared, so --raw was not read\n")
    with pytest.raises(StudyError, match="prepared with half_size False, not True"):
        prepare("celeba", {**options, "half_size": True}, raw, tmp_path)
