"""Checkpoints: whole or not at all, of this run and no other."""

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from study.provenance import ROOT
from study.rundir import RunDirectory
from tests.training import cut
from train.checkpoint import Checkpoints
from train.state import random_state, set_random_state

STATE = {"trainer": {"step": 3}, "weights": torch.arange(5.0)}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def test_the_one_before_is_kept(directory: RunDirectory) -> None:
    checkpoints = Checkpoints(directory, "digest")
    assert checkpoints.read() is None
    for step in (1, 2, 3):
        checkpoints.write({"step": step})
    assert checkpoints.read() == {"step": 3}
    assert torch.load(directory.checkpoint_before, weights_only=True)["state"] == {"step": 2}
    assert not list(directory.path.glob(".*"))


def flip(file: Path) -> None:
    """One bit of a tensor's bytes."""
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
    content[info.header_offset + 30 + len(info.filename) + 64] ^= 1
    file.write_bytes(bytes(content))


def misplace(file: Path) -> None:
    """The end of the zip says that its list of names is longer than the file."""
    content = bytearray(file.read_bytes())
    end = content.rindex(b"PK\6\6")
    content[end + 40 : end + 48] = (1 << 40).to_bytes(8, "little")
    file.write_bytes(bytes(content))


def replace_by_a_bare_dict(file: Path) -> None:
    torch.save({"format": 1}, file)


def replace_by_another_runs(file: Path) -> None:
    torch.save({"format": 1, "run": "another", "state": {}}, file)


def replace_by_code(file: Path) -> None:
    torch.save({"format": 1, "run": "digest", "state": Path("x")}, file)


def replace_by_text(file: Path) -> None:
    file.write_text("not a checkpoint")


def replace_by_a_list(file: Path) -> None:
    torch.save([1, 2], file)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "cut short"),
        (flip, "a checksum is wrong"),
        (misplace, "no checkpoint"),
        (replace_by_a_bare_dict, "the checkpoint of another run"),
        (replace_by_another_runs, "the checkpoint of another run"),
        (replace_by_code, "no checkpoint that can be read"),
        (replace_by_text, "no checkpoint, or cut short"),
        (replace_by_a_list, "no checkpoint of this version"),
    ],
)
def test_bad_one_is_refused_and_the_one_before_is_used(
    damage, why: str, directory: RunDirectory, capsys: pytest.CaptureFixture
) -> None:
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write(STATE | {"age": "old"})
    checkpoints.write(STATE)
    damage(directory.checkpoint)
    found = checkpoints.read()
    assert found is not None
    assert found["age"] == "old"
    heard = capsys.readouterr().err
    assert heard.count("\n") == 1
    assert why in heard
    damage(directory.checkpoint_before)
    assert checkpoints.read() is None


def test_a_refused_one_takes_no_good_ones_place(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fallback the next writing is killed at its last moment: the good one is there."""
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write({"step": 1})
    checkpoints.write({"step": 2})
    cut(directory.checkpoint)
    assert checkpoints.read() == {"step": 1}
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == directory.checkpoint:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write({"step": 3})
    assert Checkpoints(directory, "digest").read() == {"step": 1}
    checkpoints.write({"step": 3})
    checkpoints.write({"step": 4})
    assert torch.load(directory.checkpoint_before, weights_only=True)["state"] == {"step": 3}


def test_failed_writing_leaves_the_last_one(directory: RunDirectory) -> None:
    checkpoints = Checkpoints(directory, "digest")
    checkpoints.write({"step": 1})
    with pytest.raises(Exception, match="pickle|local object"):  # the latter from Python 3.13 on
        checkpoints.write({"step": lambda: 2})
    assert checkpoints.read() == {"step": 1}
    assert [file.name for file in directory.path.iterdir()] == ["checkpoint.pt"]


def test_generators_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.standard_normal(), torch.randn(1).item()]

    # An odd count: numpy keeps the second of each pair of normals for the next call.
    draw()
    state = random_state()
    want = [draw() for _ in range(3)]
    set_random_state(state)
    assert [draw() for _ in range(3)] == want


def test_a_disk_that_is_really_full(directory: RunDirectory) -> None:
    """torch's own word for it becomes an OSError, and the checkpoint before is there."""
    write = """
import resource, signal, sys, torch
from pathlib import Path
from study.rundir import RunDirectory
from train.checkpoint import Checkpoints
checkpoints = Checkpoints(RunDirectory(Path(sys.argv[1])), "digest")
checkpoints.write({"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.write({"weights": torch.ones(1_000_000)})
except OSError as error:
    print(error.strerror)
print(checkpoints.read())
"""
    words = [sys.executable, "-c", write, str(directory.path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "File too large\n{'step': 1}\n"
    assert [file.name for file in directory.path.iterdir()] == ["checkpoint.pt"]
