"""The lock's heartbeat: what it goes on past, what it puts back, and when it ends its process."""

import errno
import fcntl
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import study.heartbeat
import study.lock
from study.lock import Busy, is_held, lock_file, locked
from study.owner import look
from study.stopping import SIGNALS
from tests.locking import (
    LONG,
    REFUSING,
    Start,
    age,
    holders,
    meanwhile,
    refuse,
    wait_for_none,
    wait_until,
)

FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
# A mount may be away for as long as this machine is busy with something else.
PATIENT = "import study.heartbeat; study.heartbeat._LOOKS = 10**6\n"
CODES = pytest.mark.parametrize("code", ["", REFUSING], ids=["flock", "no flock"])


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_none(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "out"


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    with holders(folder) as start:
        yield start


def renewed(folder: Path) -> bool:
    return time.time() - lock_file(folder).stat().st_mtime < 100


@CODES
def test_one_that_was_taken_for_gone_stops_before_the_next_begins(
    folder: Path, start: Start, code: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """A process on another node hangs for minutes; where it holds an `flock`, this node's file
    system knows nothing of it."""
    process = start(code, SLURMD_NODENAME="c1")
    monkeypatch.setenv("SLURMD_NODENAME", "c2")
    if code:
        refuse(monkeypatch)
    else:
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    process.send_signal(signal.SIGSTOP)
    age(folder)

    def wake() -> None:
        process.send_signal(signal.SIGCONT)
        process.wait(LONG)

    meanwhile(monkeypatch, wake)
    with locked(folder):
        assert process.poll() == 75
        assert process.communicate() == (
            "",
            f"{folder}: another process took over while this one was out of reach; stopped "
            f"without writing anything more\n",
        )
        assert look(lock_file(folder)).owner.pid == os.getpid()
    assert not list(folder.parent.iterdir())
    line = (
        rf"{folder}: waits 25 seconds: its owner was overtaken and, should it live, stops by then "
        rf"\(process {process.pid} on c1, since \S+\)\n"
    )
    assert re.fullmatch(line, capsys.readouterr().err)


def test_it_goes_on_past_errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not end a run that a file server leaves alone for a while."""
    utime, see = os.utime, study.heartbeat.look
    monkeypatch.setattr(study.heartbeat, "INTERVAL", 0.02)
    failed = []

    def fail(*_: object) -> None:
        failed.append(errno.ESTALE)
        raise OSError(errno.ESTALE, "Stale file handle")

    with locked(folder):
        for module, name, real in ((os, "utime", utime), (study.heartbeat, "look", see)):
            monkeypatch.setattr(module, name, fail)
            had = len(failed)
            wait_until(lambda had=had: len(failed) >= had + 2)
            monkeypatch.setattr(module, name, real)
            age(folder)
            wait_until(lambda: renewed(folder))


def test_a_descriptor_that_is_stale_for_good_does_not_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a file server's failover: what is opened anew is sound."""
    utime = os.utime

    def stale(what: object, *further: object) -> None:
        if isinstance(what, int):
            raise OSError(errno.ESTALE, "Stale file handle")
        utime(what, *further)

    monkeypatch.setattr(study.heartbeat, "INTERVAL", 0.02)
    monkeypatch.setattr(os, "utime", stale)
    with locked(folder):
        age(folder)
        wait_until(lambda: renewed(folder))


@CODES
@pytest.mark.parametrize("how", ["deleted", "its folder replaced"])
def test_what_is_removed_is_put_back(
    folder: Path, start: Start, code: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who tidies up, or with the data set that a new one takes the place of."""
    if code:
        refuse(monkeypatch)
    process, file = start(code), lock_file(folder)
    before = look(file)
    if how == "deleted":
        file.unlink()
    else:
        folder.parent.rename(folder.parent.with_name("old"))
        folder.parent.mkdir()
    wait_until(file.exists)
    after = look(file)
    assert after.token == before.token and after.flock == before.flock == (None if code else True)
    with pytest.raises(Busy, match=f"process {process.pid} on"), locked(folder):
        pass
    age(folder)
    wait_until(lambda: renewed(folder))
    assert process.communicate("", timeout=LONG) == ("", "") and process.returncode == 0
    assert not list(folder.parent.iterdir())


def test_a_full_disks_lock_is_put_back(folder: Path, start: Start) -> None:
    """It has no name, so that it is another than the one that was deleted."""
    process, file = start(FULL_DISK), lock_file(folder)
    file.rename(folder.parent.with_name("elsewhere"))
    wait_until(file.exists)
    age(folder)
    wait_until(lambda: renewed(folder))
    assert process.communicate("", timeout=LONG) == ("", "") and process.returncode == 0
    assert not list(folder.parent.iterdir())


@pytest.mark.parametrize("bare", [False, True])
def test_a_mount_may_be_away_for_a_moment(folder: Path, start: Start, bare: bool) -> None:
    """Also one that leaves a folder to write to (`bare`), where the lock is put back then."""
    process, mount = start(PATIENT), folder.parent
    mount.rename(mount.with_name("away"))
    if bare:
        mount.mkdir()
        wait_until(lock_file(folder).exists)
        mount.rename(mount.with_name("point"))
    else:
        time.sleep(0.5)  # a few looks
    mount.with_name("away").rename(mount)
    age(folder)
    wait_until(lambda: renewed(folder))
    assert look(lock_file(folder)).flock
    assert process.communicate("", timeout=LONG) == ("", "") and process.returncode == 0
    assert not list(mount.iterdir())


def test_a_folder_that_was_moved_away_is_left_alone(folder: Path, start: Start) -> None:
    """Its process writes where nothing is any more: it ends, not at the first look, and says what
    happened."""
    assert study.heartbeat._LOOKS * study.heartbeat.INTERVAL < study.owner.STALE
    process = start()
    began = time.monotonic()
    folder.parent.rename(folder.parent.with_name("moved"))
    assert process.wait(LONG) == 75
    assert time.monotonic() - began > 0.25
    said, complaint = process.communicate()
    assert said == ""
    assert complaint == (
        f"{folder}: its lock was removed ({lock_file(folder)} cannot be made anew); stopped "
        f"without writing anything more\n"
    )
    assert not folder.parent.exists()


def test_nothing_is_put_back_after_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat is just at it when the work is done."""
    claim, at_it = study.lock._claim, threading.Event()

    def slow(*of: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            at_it.set()
            time.sleep(0.3)
        return claim(*of)

    monkeypatch.setattr(study.lock, "_claim", slow)
    monkeypatch.setattr(study.heartbeat, "INTERVAL", 0.01)
    with locked(folder):
        lock_file(folder).unlink()
        assert at_it.wait(LONG)
    for thread in threading.enumerate():
        if thread.name == "heartbeat of out":
            thread.join(LONG)
    assert not list(folder.parent.iterdir())


def test_a_full_disk_is_no_hindrance(folder: Path, start: Start) -> None:
    """Who deletes what fills it needs the lock, too, and no room to write its name."""
    process = start(FULL_DISK)
    assert lock_file(folder).stat().st_size == 0
    assert is_held(folder)
    with pytest.raises(Busy, match="at work there; wait"), locked(folder):
        pass
    age(folder)
    wait_until(lambda: renewed(folder))
    assert process.communicate("", timeout=LONG) == ("", "")
    assert not list(folder.parent.iterdir())


def test_a_full_disks_lock_holds_between_nodes(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Also where the kernel of each node knows only its own locks."""
    process = start(FULL_DISK, SLURMD_NODENAME="c1")
    monkeypatch.setenv("SLURMD_NODENAME", "c2")
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(Busy, match="at work there; wait"), locked(folder):
        pass
    process.kill()
    process.wait()
    assert is_held(folder)
    age(folder)
    with locked(folder):
        assert look(lock_file(folder)).owner.pid == os.getpid()
    assert "overtaken and, should it live, stops by then\n" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_no_signal_is_given_to_the_heartbeat(tmp_path: Path) -> None:
    """Python acts on signals in its main thread, which one given to another would not wake."""

    def masks() -> dict[int, int]:
        found = {}
        for task in Path("/proc/self/task").iterdir():
            [line] = [x for x in (task / "status").read_text().splitlines() if "SigBlk" in x]
            found[int(task.name)] = int(line.split()[1], 16)
        return found

    before = masks()
    with locked(tmp_path / "folder"):
        inside = masks()
        [beat] = inside.keys() - before.keys()
        for number in SIGNALS:
            assert inside[beat] >> (number - 1) & 1
        assert {task: inside[task] for task in before} == before
