"""Which ends a job does not take for final: jobs of a real SLURM that do nothing but wait."""

import shlex
import sys
from pathlib import Path

import pytest

from slurm.commands import Silent, ask, speaks_to_slurm
from slurm.requeue import requeue
from study.provenance import ROOT
from tests.slurm_lab import Lab
from tests.slurm_study import job, over

# As slurm.job does, without the seconds that torch takes: stopped, it ends its work (for as long as
# it is told), and asks to be put back.
WAITS = """
import sys, time
from slurm.requeue import requeue
from study.job import restarts
from study.errors import Stopped
from study.stopping import stoppable
with stoppable():
    try:
        print("waits", restarts(), flush=True)
        time.sleep(0 if restarts() else 120)
    except Stopped as stopped:
        time.sleep(float(sys.argv[1]))
        requeue(20)
        sys.exit(75)
"""


class Waiting:
    """A job that waits until it is stopped, and once more started ends at once."""

    def __init__(self, lab: Lab, folder: Path, *options: str, work: float = 0) -> None:
        self.lab = lab
        self.log = folder / "waits.log"
        command = shlex.join(["exec", sys.executable, "-c", WAITS, str(work)])
        self.number = lab.run(
            *("sbatch", "--parsable", "--requeue", "--open-mode=append", f"--chdir={ROOT}"),
            *(f"--output={self.log}", "--mem=100M", *options, f"--wrap={command}"),
        ).strip()
        lab.wait(lambda: self.log.is_file() and "waits 0" in self.log.read_text())

    def ended(self) -> tuple[str, int]:
        """State and restarts when it is over."""
        self.lab.wait(over(self.lab, self.number))
        row = job(self.lab, self.number)
        return row.state, row.restarts


def test_a_pre_emption_that_is_an_end_is_none(slurm: Lab, tmp_path: Path) -> None:
    waiting = Waiting(slurm, tmp_path, "--partition=fleeting", "--cpus-per-task=8")
    urgent = ("--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true")
    slurm.run("sbatch", *urgent)
    assert waiting.ended() == ("COMPLETED", 1)
    assert "DUE TO PREEMPTION" in waiting.log.read_text()
    assert "back in the queue for restart 1 of at most 20" in waiting.log.read_text()


def test_a_scancel_while_the_checkpoint_of_a_warning_is_written_holds(slurm, tmp_path) -> None:
    waiting = Waiting(slurm, tmp_path, work=2)
    slurm.run("scancel", "--batch", "--signal=USR1", waiting.number)
    slurm.run("scancel", waiting.number)
    assert waiting.ended() == ("CANCELLED", 0)
    assert "ended by SLURM, so it does not requeue itself" in waiting.log.read_text()


def test_a_job_goes_back_into_the_queue_so_often_and_no_more(slurm: Lab, tmp_path: Path) -> None:
    """Two elements of an array, each by itself; all that they do is to be stopped."""
    # Whoever was stopped hears no further signal; SLURM sends one to what it requeues.
    stopped = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "from slurm.requeue import requeue; requeue(2)"
    )
    script = f"{sys.executable} -c '{stopped}'"
    how = ("--requeue", "--open-mode=append", f"--output={tmp_path}/%a.log", f"--chdir={ROOT}")
    array = slurm.run("sbatch", "--parsable", "--array=0-1", *how, f"--wrap={script}").strip()
    slurm.wait(over(slurm, array))
    for index in (0, 1):
        element = f"{array}_{index}"
        assert (job(slurm, element).state, job(slurm, element).restarts) == ("COMPLETED", 2)
        said = [
            line
            for line in (tmp_path / f"{index}.log").read_text().splitlines()
            if line.startswith("job ")
        ]
        assert said == [
            f"job {element}: back in the queue for restart 1 of at most 2",
            f"job {element}: back in the queue for restart 2 of at most 2",
            f"job {element}: not requeued, restart 2 was the last it may have; "
            f"the same submission goes on from here",
        ]


def test_outside_of_slurm_nothing_is_requeued(monkeypatch, capfd) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    requeue(20)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        *((name, True) for name in ("SLURM_MEM_PER_CPU", "SQUEUE_STATES", "SBATCH_ARRAY_INX")),
        *((name, True) for name in ("SBATCH_WAIT", "SCANCEL_PARTITION", "SLURM_JOB_ID")),
        *((name, False) for name in ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "PATH")),
    ],
)
def test_variables_of_the_shell_that_speak_to_slurm(name: str, dropped: bool) -> None:
    assert speaks_to_slurm(name) == dropped


def test_a_slurm_that_is_not_there_is_one_line_at_once(tmp_path: Path, monkeypatch) -> None:
    """SLURM's own commands look for the file for a minute."""
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(Silent, match="SLURM_CONF names .*, which is not there") as error:
        ask(["squeue"])
    assert error.value.status == 2
