"""wandb missing, broken, silent, full or killed: one line, and the work goes on."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study import tracking
from study.provenance import ROOT
from study.tracking import Tracker
from study.wandb_process import CLOSED
from tests.test_stops import wait_until
from tests.tracked import GONE_WRONG, OFFLINE, inspect, job, logged, mirrored, of
from tests.training import train, weights
from train.history import read_history

pytestmark = pytest.mark.usefixtures("fresh_tracker")


def fake_wandb(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "wandb.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


RUN = """
import os, time
class Settings:
    def __init__(self, **given): pass
class Run:
    dir = "."; url = "u"; offline = True
    def define_metric(self, *a, **k): pass
    def log(self, values, **given): {log}
    def finish(self, **given): {finish}
def init(**given):
    {init}
    return Run()
"""
WORKS = {"log": "pass", "finish": "pass", "init": "pass"}
BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'wandb'\")",
    "import": "1 / 0",
    "init": RUN.format(**WORKS | {"init": "raise ValueError('two\\nlines')"}),
    "log": RUN.format(**WORKS | {"log": "raise KeyError('x')"}),
    "finish": RUN.format(**WORKS | {"finish": "raise OSError(28, 'No space left on device')"}),
    "dies": RUN.format(**WORKS | {"log": "os.kill(os.getpid(), 9)"}),
    "hangs": RUN.format(**WORKS | {"log": "time.sleep(600)"}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_wandb_costs_one_line(how: str, tmp_path: Path, data, monkeypatch, capsys) -> None:
    """The run goes on to the same end; a second run in the process adds no line."""
    fake_wandb(tmp_path / "fake", BROKEN[how], monkeypatch)
    for name in ("INIT_TIMEOUT", "FINISH_TIMEOUT", "GRACE"):
        monkeypatch.setattr(tracking, name, 1.0 if how == "hangs" else 30.0)
    out = train(tmp_path, data, tracking=OFFLINE)
    assert len(read_history(out / "history.jsonl")) == 2
    assert weights(out)
    with Tracker(job(tmp_path)) as tracker:
        tracker.log_values({"x": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(GONE_WRONG), lines
    assert lines[0].endswith("; the work went on without it")


ONLINE = """
import sys, time
from pathlib import Path
from study import tracking
from study.schema_files import Tracking
from study.tracking import Job, Tracker
tracking.INIT_TIMEOUT = 3.0
for name in ("a", "b"):
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    with Tracker(Job(Tracking(mode="online"), "train", folder, name, name, "p", {})) as tracker:
        tracker.log_epoch({"epoch": 1, "train": {"loss": 1.0}})
"""


@pytest.mark.parametrize("key", [True, False])
def test_online_without_key_or_answer_asks_nobody_and_goes_offline(key, tmp_path, monkeypatch):
    """On a terminal, where wandb would prompt; the server takes the call and never speaks."""
    home = tmp_path / "home"
    home.mkdir()
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("HOME", str(home))
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", ONLINE, str(tmp_path)]
    try:
        process = subprocess.Popen(words, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
        assert process.wait(240) == 0
        os.set_blocking(ours, False)
        said = os.read(ours, 1 << 16).decode().splitlines()
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
        server.close()
    first, *found = [line for line in said if line]
    assert first.startswith("wandb: not online (") and first.endswith("; tracked offline")
    assert ("no API key" in first) == (not key)
    assert len(found) == 2 and all("'wandb sync " in line for line in found)
    assert logged(tmp_path / "a") and logged(tmp_path / "b")
    assert list(home.rglob("*")) == []


def test_nothing_is_written_outside_and_an_unwritable_home_is_no_matter(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with Tracker(job(tmp_path / "run")) as tracker:
        tracker.log_table("t", ["a", "b"], [["x", 1.5], ["y", None]])
    (run,) = logged(tmp_path / "run")
    said = capsys.readouterr().err
    assert said == f"wandb: train name: 'wandb sync run/wandb/{run.name}' uploads it\n"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "tmp"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["wandb"]
    assert list(temporary.iterdir()) == []
    (table,) = run.glob("files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["x", 1.5], ["y", None]]


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_DIR", "/dev/null")
    out = train(tmp_path, data, tracking=OFFLINE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "/dev/null/wandb: Not a directory" in lines[0]
    assert weights(out) and not (out / "wandb").exists()


FULL = """
import sys
from pathlib import Path
from study.schema_files import Tracking
from study.tracking import Job, Tracker
job = Job(Tracking(mode="offline"), "train", Path(sys.argv[1]), "made", "name", "project", {})
with Tracker(job) as tracker:
    for epoch in range(4000):
        tracker.log_epoch({"epoch": epoch, "train": {"loss": epoch / 7}})
print("went on")
"""
TMPFS = 'mount -t tmpfs -o size=256k none "$1" && exec "$0" -c "$2" "$1"'


def test_a_full_disk_costs_one_line(tmp_path: Path) -> None:
    """A real one: a file system of 256 KiB in a mount namespace of its own."""
    words = ["unshare", "-rm", "sh", "-c", TMPFS, sys.executable, str(tmp_path), FULL]
    trial = [*words[:-1], "pass"]
    if not shutil.which("unshare") or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs user namespaces")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout == "went on\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("wandb: OSError: ") and line.endswith("; the work went on without it")


KILLED = """
import sys, time
from pathlib import Path
from study.schema_files import Tracking
from study.tracking import Job, Tracker
job = Job(Tracking(mode="offline"), "train", Path(sys.argv[1]), "made", "name", "project", {})
tracker = Tracker(job)
tracker.log_epoch({"epoch": 1, "train": {"loss": 0.5}})
print("logged", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_had_logged_is_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "logged\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 120
        ended: list[dict] = []
        while not ended and time.monotonic() < deadline:
            time.sleep(0.2)
            if list(tmp_path.glob("wandb/offline-run-*/*.wandb")):
                records = inspect(logged(tmp_path)[0])
                ended = of(records, "exit")
    finally:
        process.kill()
    assert ended[0]["exit_code"] == 1
    assert mirrored(records) == [{"epoch": 1, "train/loss": 0.5}]
    assert not (logged(tmp_path)[0] / CLOSED).exists()


def descendants(pid: int) -> list[int]:
    """Of a process, all of its threads' included."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


SCANCELLED = """
from study.errors import Stopped
from study.stopping import stoppable
try:
    with stoppable(), tracker:
        time.sleep(60)
except Stopped:
    sys.exit(75)
"""


def test_a_scancel_reaches_wandbs_service_and_costs_a_second(tmp_path: Path) -> None:
    """That ends at once; what it was given before, fifteen seconds by its own choice, stays."""
    code = KILLED.replace("time.sleep(60)\n", SCANCELLED)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, text=True, **streams)
    try:
        wait_until(lambda: list(tmp_path.glob("wandb/offline-run-*/*.wandb")), process)
        time.sleep(5)
        tree = [process.pid, *descendants(process.pid)]
        assert len(tree) == 3
        for pid in tree:
            os.kill(pid, signal.SIGTERM)
        _, heard = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, heard) == (75, "wandb: train name: ended with the job\n")
    (run,) = logged(tmp_path)
    assert mirrored(inspect(run)) == [{"epoch": 1, "train/loss": 0.5}]
    assert not (run / CLOSED).exists()


def test_a_clusters_signals_do_not_end_the_mirror(tmp_path: Path) -> None:
    """They go to all processes of a job: it is stopped, and what it had logged is whole."""
    ending = "sys.stdin.readline()\ntracker.__exit__(None)\n"
    words = [sys.executable, "-c", KILLED.replace("time.sleep(60)\n", ending), str(tmp_path)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, cwd=ROOT, text=True, **streams)
    assert process.stdout.readline() == "logged\n"
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("wandb/offline-run-*/*.wandb")) and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(int(children[0]), number)
    _, heard = process.communicate("\n", timeout=120)
    assert "uploads it" in heard and (logged(tmp_path)[0] / CLOSED).exists()
    assert mirrored(inspect(logged(tmp_path)[0])) == [{"epoch": 1, "train/loss": 0.5}]
