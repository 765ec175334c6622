"""The lock's file: who takes it where many want it, and that nobody removes another's."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import study.lock
from study.lock import Busy, is_held, lock_file, locked
from study.owner import look, this_process
from study.provenance import ROOT
from tests.locking import REFUSING, refuse

# Each is on a node of its own, waits for its turn, counts, and dies with the lock in its hands, old
# enough to be taken over, or lets go.
RIVALS = """
import os, sys, time
from pathlib import Path
import study.lock
from study.lock import Busy, lock_file, locked
study.lock._TO_FIND_OUT = 0.0
folder, count = Path(sys.argv[1]), Path(sys.argv[2])
def turn(number):
    os.environ["SLURMD_NODENAME"] = f"c{number}"
    while True:
        try:
            with locked(folder):
                os.close(os.open(count.with_name("inside"), os.O_CREAT | os.O_EXCL))
                before = int(count.read_text())
                time.sleep(0.001)
                count.write_text(str(before + 1))
                os.unlink(count.with_name("inside"))
                if number % 3:
                    os.utime(lock_file(folder), (0, 0))
                    os._exit(0)
            os._exit(0)
        except Busy:
            time.sleep(0.05)
children = []
for number in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        try:
            turn(number)
        finally:
            os._exit(1)
    children.append(child)
assert {os.waitpid(child, 0)[1] for child in children} == {0}
"""


def test_of_many_at_once_one_has_it(tmp_path: Path) -> None:
    """Without `flock`, most of them taking over from one that is gone."""
    counter, rivals = tmp_path / "count", 60
    counter.write_text("0")
    words = [sys.executable, "-c", REFUSING + RIVALS, tmp_path / "out", counter, str(rivals)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert all("overtaken" in line for line in done.stderr.splitlines()), done.stderr
    assert counter.read_text() == str(rivals)
    assert {p.name for p in tmp_path.iterdir()} <= {"count", ".out.lock"}


@pytest.mark.parametrize("refusing", [False, True], ids=["flock", "no flock"])
def test_threads_take_turns(
    tmp_path: Path, refusing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refusing:
        refuse(monkeypatch)
    inside, most = [], []

    def turn() -> None:
        while True:
            try:
                with locked(tmp_path / "out"):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.001)
                    inside.pop()
                return
            except Busy:
                time.sleep(0.01)

    threads = [threading.Thread(target=turn) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 30 and not list(tmp_path.iterdir())


def test_a_claim_whose_maker_died_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    folder, claim = tmp_path / "out", tmp_path / f".out.lock.{study.lock._NOBODY}"
    claim.touch()
    monkeypatch.setattr(study.lock, "_ASTONISHING", 0.1)
    threading.Timer(0.3, os.utime, [claim, (0, 0)]).start()
    with locked(folder):
        assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    assert not list(tmp_path.iterdir())
    said = capsys.readouterr().err
    assert said == f"{folder}: waiting for another process that is taking or leaving it\n"


def test_one_that_was_passed_over_may_come_to_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs between its look at the lock and its rename, which comes after the other's: then it
    has the lock, alone."""
    file, put = lock_file(tmp_path / "out"), study.lock._put
    slow, quick = this_process(), this_process()
    claim = study.lock._claim_file(file, None, 0)
    signed = study.lock._sign(claim, study.lock._open_new(claim), slow)
    os.utime(claim, (0, 0))

    def put_both(*of: object) -> bool:
        done = put(*of)
        assert put(claim, file, signed)
        return done

    monkeypatch.setattr(study.lock, "_put", put_both)
    assert study.lock._claim(file, None, quick) is None
    assert look(file).token == slow.token
    assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    os.close(*signed.descriptors)


def test_what_the_killed_leave_is_tidied_up(tmp_path: Path) -> None:
    """Claims and clocks of this lock, old enough; nothing else."""
    token = "0123456789abcdef"
    old = [f".out.lock.{token}", f".out.lock.{token}.1", ".out.lock.inode-7"]
    others = [
        f".out2.lock.{token}",
        f".out.lock.{token}.lock",
        ".out.lock.notes",
        ".out.lock.x.lock",
        "out.lock",
    ]
    young = f".out.lock.{token[::-1]}"
    for name in (*old, *others, young):
        (tmp_path / name).touch()
        if name != young:
            os.utime(tmp_path / name, (0, 0))
    with locked(tmp_path / "out"):
        assert {p.name for p in tmp_path.iterdir()} == {*others, young, ".out.lock"}


def test_only_ones_own_lock_is_removed(tmp_path: Path) -> None:
    file = lock_file(tmp_path / "out")
    with locked(tmp_path / "out"):
        record = json.loads(file.read_text())
        other = json.dumps(record | {"token": "0123456789abcdef"})
        (tmp_path / "other").write_text(other)
        (tmp_path / "other").rename(file)
    assert file.read_text() == other
    assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]


def test_a_forked_process_does_not_let_go(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from study.lock import is_held, locked
with locked(Path(sys.argv[1])):
    child = os.fork()
    if not child:
        sys.exit()
    os.waitpid(child, 0)
    print(is_held(Path(sys.argv[1])))
"""
    words = [sys.executable, "-c", code, tmp_path / "out"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "change", [{"token": "../../etc"}, {"pid": "7"}, {"node": ["c1"]}, {"pid": -1}, None]
)
def test_a_damaged_lock_is_nobodys(
    tmp_path: Path, change: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells nothing but its time."""
    monkeypatch.setattr(study.lock, "_TO_FIND_OUT", 0.0)
    folder = tmp_path / "out"
    with locked(folder):
        record = json.loads(lock_file(folder).read_text())
    text = "[1]" if change is None else json.dumps(record | change)
    lock_file(folder).write_text(text)
    assert look(lock_file(folder)).owner is None and is_held(folder)
    os.utime(lock_file(folder), (0, 0))
    assert not is_held(folder)
    with locked(folder):
        assert is_held(folder)
    lock_file(folder).write_text(json.dumps(record | {"of a later version": 1}))
    assert look(lock_file(folder)).owner is not None


def test_an_error_names_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 240)
    with pytest.raises(OSError, match="File name too long") as error, locked(folder):
        pass
    assert error.value.filename == str(lock_file(folder))
