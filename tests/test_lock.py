"""The lock on one machine and between machines, with real processes.

A file system that keeps `flock` to each node is had by killing a process of "another node" (its
lock goes, what it wrote stays), one that refuses by an `flock` that does.
"""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import study.lock
from study.lock import Busy, is_held, lock_file, locked
from tests.locking import (
    LONG,
    REFUSING,
    Start,
    age,
    holders,
    kill,
    meanwhile,
    refuse,
    wait_for_none,
)


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_none(monkeypatch)


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
    with holders(tmp_path / "out") as start:
        yield start


def test_the_other_is_named_and_is_gone_with_its_process(
    tmp_path: Path, start: Start, refusing: str, capsys
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
    assert capsys.readouterr().err == "", "nothing to wait for"


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
    assert process.communicate("", timeout=LONG) == ("", "") and process.returncode == 0
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
    meanwhile(monkeypatch, lambda: process.wait(LONG))
    with locked(tmp_path / "out"):
        assert process.poll() == 75, "before this one begins"


def test_an_earlier_life_on_another_node_is_over(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Should it live, cut off from SLURM, it ends before this one begins."""
    process = start(REFUSING, **EARLIER)
    refuse(monkeypatch)
    requeued(monkeypatch, node="c2")
    meanwhile(monkeypatch, lambda: process.wait(LONG))
    with locked(tmp_path / "out"):
        assert process.poll() == 75
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'out'}: waits 25 seconds: ") and said.count("\n") == 1
    assert "job 7 on node c1" in said


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
