"""The SLURM that tests submit to: it starts beside others, and nothing of it is ever left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slurm_daemons import descendants, missing, processes
from tests.slurm_lab import ROOT, Lab

LAB = [sys.executable, "-m", "tests.slurm_lab"]
needs_slurm = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def start(*words: str | Path, **more) -> subprocess.Popen[str]:
    return subprocess.Popen([*LAB, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, **more)


def gone(pids: list[int], folder: Path) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids) and not folder.exists():
            return True
        time.sleep(0.05)
    return False


def test_it_runs_jobs_on_cpus_and_gpus_that_are_not_there(slurm: Lab, tmp_path: Path) -> None:
    log = tmp_path / "%a.log"
    script = 'echo "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS"; exit $SLURM_ARRAY_TASK_ID'
    words = ("--parsable", "--array=0-1", "--gres=gpu:1", "--job-name=gpus", f"--output={log}")
    job = slurm.run("sbatch", *words, "--export=NONE", f"--wrap={script}").strip()

    def states() -> dict[str, str]:
        return {row.id: row.state for row in slurm.jobs() if row.name == "gpus"}

    slurm.wait(lambda: states() == {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED"})
    assert {(tmp_path / f"{i}.log").read_text() for i in (0, 1)} == {"0 1\n", "1 1\n"}
    with pytest.raises(AssertionError, match=f"{job}_1.*FAILED"):
        slurm.wait(lambda: False, 0)


def test_a_second_one_beside_it_has_its_own_nodes_and_jobs(slurm: Lab) -> None:
    before = len(slurm.jobs())
    other = Lab(nodes=2)
    try:
        assert (
            other.run("sinfo", "--noheader", "--partition=main", "--format=%D %c %G %T")
            == "2 8 gpu:2 idle\n"
        )
        other.run("sbatch", "--output=/dev/null", "--wrap=sleep 100")
        assert [row.id for row in other.jobs()] == ["1"]
        assert len(slurm.jobs()) == before
    finally:
        other.stop()
    assert not Path(other.environment["SLURM_CONF"]).parent.exists()
    assert slurm.run("sinfo", "--noheader", "--partition=main", "--format=%T") == "idle\n"


@needs_slurm
def test_it_ends_with_a_test_process_that_is_killed() -> None:
    """Its jobs too, and what such a job has put into a session of its own."""
    script = (
        "import time; from tests.slurm_lab import Lab; lab = Lab();"
        "lab.run('sbatch', '--output=/dev/null', '--wrap=setsid sleep 1234 & wait');"
        "lab.wait(lambda: lab.jobs()[0].state == 'RUNNING');"
        "print(lab.environment['SLURM_CONF'], flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    config = Path(process.stdout.readline().strip())
    deadline = time.monotonic() + 20
    while True:
        words = {pid: processes().get(pid, "") for pid in descendants(process.pid)}
        if any("sleep 1234" in of_process for of_process in words.values()):
            break
        assert time.monotonic() < deadline, words
    for program in ("munged", "slurmctld", "slurmd", "slurmstepd"):
        assert any(program in of_process for of_process in words.values()), words
    process.kill()
    process.wait()
    assert gone(list(words), config.parent)


@needs_slurm
def test_by_hand_it_runs_until_ctrl_c_and_leaves_its_files() -> None:
    folder = Path(f"/tmp/slurm-{os.getpid()}")
    process = start(folder, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == f"export SLURM_CONF={folder}/slurm.conf\n"
    pids = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "A SLURM with 1 node(s) runs until Ctrl-C.\n")
    assert process.returncode == 0
    assert "slurmctld version" in (folder / "log" / "slurmctld.log").read_text()
    assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)
    shutil.rmtree(folder)


@needs_slurm
def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    stub = tmp_path / "slurmctld"
    stub.write_text("#!/bin/sh\necho slurmctld: no such thing >&2\nexit 3\n")
    stub.chmod(0o755)
    folder = Path(f"/tmp/slurm-half-{os.getpid()}")
    process = start(folder, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "slurm_lab: slurmctld ended: slurmctld: no such thing\n"
    assert not [pid for pid, words in processes().items() if str(folder) in words]
    shutil.rmtree(folder)


def test_where_it_cannot_be_it_says_why_in_one_line(tmp_path: Path) -> None:
    process = start(env={"PATH": str(tmp_path)})
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "is not installed: apt-get install" in said and said.count("\n") == 1


@needs_slurm
def test_a_folder_that_slurm_cannot_take_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    process = start(folder)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 2 and said.startswith(f"slurm_lab: {folder}: a folder of at most")
    assert not folder.exists()
