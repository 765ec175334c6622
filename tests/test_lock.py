"""The lock on one machine and between machines, with real processes.

A file system that keeps `flock` to each node is had by killing a process of "another node" (its
lock goes, what it wrote stays), one that refuses by an `flock` that does.
"""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import study.heartbeat
import study.lock
from study.lock import Busy, is_held, lock_file, locked
from study.provenance import ROOT
from tests.locking import REFUSING, refuse

HOLD = """
import sys, time
from pathlib import Path
import study.heartbeat
from study.lock import locked
study.heartbeat.INTERVAL = 0.1
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["flock", "no flock"])
def refusing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What makes a process one on a file system that refuses locks, as this one then is; or ""."""
    if request.param == "flock":
        return ""
    refuse(monkeypatch)
    return REFUSING


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that holds `tmp_path / "out"` until its stdin ends."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str = "", **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code + HOLD, str(tmp_path / "out")],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def age(folder: Path, seconds: float = 130) -> None:
    then = time.time() - seconds
    os.utime(lock_file(folder), (then, then))


def test_the_other_is_named_and_is_gone_with_its_process(
    tmp_path: Path, start: Start, refusing: str
) -> None:
    folder = tmp_path / "out"
    process = start(refusing)
    line = (
        rf"{folder}: another process is at work there \(process {process.pid} on \S+, since "
        rf"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\); wait for it, or stop it first"
    )
    with pytest.raises(Busy) as error, locked(folder):
        pass
    assert re.fullmatch(line, str(error.value)) and is_held(folder)
    kill(process)
    assert not is_held(folder)
    with locked(folder):
        assert is_held(folder) and [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    assert not is_held(folder) and not list(tmp_path.iterdir())


def test_its_number_may_be_anothers_by_now(
    tmp_path: Path, start: Start, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel knows better; where it does not say, the heartbeat has to."""
    folder = tmp_path / "out"
    kill(start(refusing))
    record = json.loads(lock_file(folder).read_text())
    lock_file(folder).write_text(json.dumps(record | {"pid": os.getpid()}))
    assert is_held(folder) is bool(refusing)
    if refusing:
        age(folder)
    with locked(folder):
        assert is_held(folder)


def test_one_that_ends_in_order_leaves_nothing(tmp_path: Path, start: Start, refusing: str) -> None:
    process = start(refusing)
    assert process.communicate("", timeout=20) == ("", "") and process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_stopped_process_keeps_what_the_kernel_holds(tmp_path: Path, start: Start) -> None:
    process = start()
    process.send_signal(signal.SIGSTOP)
    age(tmp_path / "out")
    with pytest.raises(Busy), locked(tmp_path / "out"):
        pass
    assert is_held(tmp_path / "out")


@pytest.mark.parametrize("where", ["flock of one node", "no flock"])
def test_on_another_node_the_heartbeat_decides(
    tmp_path: Path, start: Start, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    job = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    kill(start(REFUSING if where == "no flock" else "", SLURMD_NODENAME="c0123", **job))
    monkeypatch.setenv("SLURMD_NODENAME", "c0124")
    if where == "no flock":
        refuse(monkeypatch)
    assert is_held(folder)
    before = lock_file(folder).read_bytes(), lock_file(folder).stat().st_mtime_ns
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: 4e9)  # this host's clock has no say
        with (
            pytest.raises(Busy, match=r"there \(job 12_3 on node c0123, since 20"),
            locked(folder),
        ):
            pass
    assert before == (lock_file(folder).read_bytes(), lock_file(folder).stat().st_mtime_ns)
    age(folder, 100)
    with pytest.raises(Busy), locked(folder):
        pass
    age(folder)
    assert not is_held(folder)
    with locked(folder):
        assert is_held(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", ["", REFUSING], ids=["flock", "no flock"])
def test_one_that_was_taken_for_gone_stops_when_it_finds_out(
    tmp_path: Path, start: Start, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process on another node hangs for minutes; where it holds an `flock`, this node's file
    system knows nothing of it."""
    folder = tmp_path / "out"
    process = start(code, SLURMD_NODENAME="c1")
    monkeypatch.setenv("SLURMD_NODENAME", "c2")
    if code:
        refuse(monkeypatch)
    else:
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    process.send_signal(signal.SIGSTOP)
    age(folder)
    with locked(folder):
        mine = lock_file(folder).read_bytes()
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 75
        said, complaint = process.communicate()
        assert said == ""
        assert complaint.startswith(f"{folder}: another process took over")
        assert complaint.count("\n") == 1
        assert lock_file(folder).read_bytes() == mine
    assert not list(tmp_path.iterdir())


def test_heartbeat_goes_on_past_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not end a run that a file server leaves alone for a while."""
    folder, utime, look = tmp_path / "out", os.utime, study.heartbeat.look
    monkeypatch.setattr(study.heartbeat, "INTERVAL", 0.02)
    failed = []

    def fail(*_: object) -> None:
        failed.append(errno.ESTALE)
        raise OSError(errno.ESTALE, "Stale file handle")

    with locked(folder):
        for module, name, real in ((os, "utime", utime), (study.heartbeat, "look", look)):
            monkeypatch.setattr(module, name, fail)
            had = len(failed)
            wait_until(lambda had=had: len(failed) >= had + 2)
            monkeypatch.setattr(module, name, real)
            age(folder)
            wait_until(lambda: time.time() - lock_file(folder).stat().st_mtime < 60)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


EARLIER = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "c1"}


def requeued(monkeypatch: pytest.MonkeyPatch, node: str = "c1", **further: str) -> None:
    """This process is the job's life after a requeue."""
    again = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": node, "SLURM_RESTART_COUNT": "1"}
    for name, value in (again | further).items():
        monkeypatch.setenv(name, value)


def test_an_earlier_life_of_the_job_is_waited_for(
    tmp_path: Path, start: Start, refusing: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    folder = tmp_path / "out"
    process = start(refusing, **EARLIER)
    requeued(monkeypatch)
    began = time.monotonic()
    threading.Timer(0.5, kill, [process]).start()
    with locked(folder):
        assert time.monotonic() - began >= 0.5
        assert process.poll() == -signal.SIGKILL
    said = capsys.readouterr().err
    assert re.fullmatch(rf"{folder}: waiting for .* earlier process to end \(job 7 .*\)\n", said)


def test_an_earlier_life_that_does_not_end_has_to(
    tmp_path: Path, start: Start, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(refusing, **EARLIER)
    requeued(monkeypatch)
    monkeypatch.setattr(study.lock, "_LAST_GASP", 0.3)
    monkeypatch.setattr(study.heartbeat, "INTERVAL", 1.6)
    with locked(tmp_path / "out"):
        assert process.poll() == 75, "before this one begins"


def test_an_earlier_life_on_another_node_is_over(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Nobody waits for it; should it live, cut off from SLURM, it ends before this one begins."""
    process = start(REFUSING, **EARLIER)
    refuse(monkeypatch)
    requeued(monkeypatch, node="c2")
    monkeypatch.setattr(study.heartbeat, "INTERVAL", 1.6)
    with locked(tmp_path / "out"):
        assert process.poll() == 75
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "other",
    [{"SLURM_RESTART_COUNT": "0"}, {"SLURM_JOB_ID": "8"}, {"SLURM_CLUSTER_NAME": "another"}],
)
def test_another_job_is_not_an_earlier_life(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    start(**EARLIER)
    requeued(monkeypatch, **other)
    with pytest.raises(Busy, match="job 7 on node c1"), locked(tmp_path / "out"):
        pass


def test_a_full_disk_is_no_hindrance(tmp_path: Path, start: Start) -> None:
    """Who deletes what fills it needs the lock, too, and no room to write its name."""
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    process = start(full)
    assert lock_file(tmp_path / "out").stat().st_size == 0
    assert is_held(tmp_path / "out")
    with pytest.raises(Busy, match="at work there; wait"), locked(tmp_path / "out"):
        pass
    time.sleep(0.5)  # a few heartbeats
    assert process.communicate("", timeout=20) == ("", "")
    assert not list(tmp_path.iterdir())
