"""Processes that hold a lock, and a file system that refuses locks: for this process, and for one
that runs REFUSING first."""

import errno
import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import study.heartbeat
import study.lock
from study.lock import lock_file
from study.provenance import ROOT

REFUSING = """
import errno, fcntl
def flock(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
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
# Seconds in which whatever is waited for has happened, on however loaded a machine.
LONG = 60
_TO_FIND_OUT = study.lock._TO_FIND_OUT


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@contextmanager
def holders(folder: Path) -> Iterator[Start]:
    """Starts processes that hold `folder` until their stdin ends, with a quick heartbeat."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str = "", **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code + HOLD, str(folder)],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        assert select.select([process.stdout], [], [], LONG)[0], "it hangs"
        assert process.stdout.readline() == "held\n"
        return process

    try:
        yield start
    finally:
        for process in begun:
            process.kill()
            process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def age(folder: Path, seconds: float = 130) -> None:
    then = time.time() - seconds
    os.utime(lock_file(folder), (then, then))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job of SLURM's, and no time for an overtaken owner to find out."""
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(study.lock, "_TO_FIND_OUT", 0.0)


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Call `do` in the place of the time that an overtaken owner is given to find out."""
    assert _TO_FIND_OUT > study.heartbeat.INTERVAL
    monkeypatch.setattr(study.lock, "_TO_FIND_OUT", _TO_FIND_OUT)
    sleep = time.sleep
    monkeypatch.setattr(
        time, "sleep", lambda seconds: do() if seconds == _TO_FIND_OUT else sleep(seconds)
    )
