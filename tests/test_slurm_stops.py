"""Every kind of stop that a cluster knows, of jobs of a real SLURM: who goes on, and from where."""

import contextlib
import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.same_bits import differences
from slurm.names import STAGES
from study.jsonfile import read_json_object
from study.provenance import ROOT
from tests import made
from tests.slurm_daemons import processes
from tests.slurm_lab import Lab, Row
from tests.slurm_study import job, over, records, slurm_command, words, write_site
from train.history import read_history

EPOCHS = 8
# The first is what the others, of the same config but for the one that fails, must end as.
RUNS = ("whole", "failing", "stopped", "last")
# The signals by which a process stands still, and goes on.
STOP, CONT = (("--batch", f"--signal={name}") for name in ("STOP", "CONT"))


def write_study(folder: Path) -> Path:
    """Runs of 300 steps an epoch, so that a signal finds them in the middle."""
    made.dataset(folder / "data", "shapes", counts=(1200, 100))
    changes = {"num_epochs": EPOCHS, "per_device_train_batch_size": 4}
    for name in RUNS:
        rate = {"learning_rate": 1e30} if name == "failing" else {}
        made.run_file(
            folder,
            name=name,
            dataset="shapes",
            trainer=made.trainer(made.MODELS["VAE"], **changes, **rate),
            engine={"keep": "all", "checkpoint_every": {"steps": 70}},
        )
    study = folder / "stops.json"
    config = made.study_config({name: f"{name}.json" for name in RUNS}, name="stops", seeds=[3])
    study.write_text(json.dumps(config))
    return study


@dataclass
class Scene:
    """A study in the hands of SLURM."""

    lab: Lab
    work: Path
    study: Path
    site: Path

    def run(self, name: str) -> Path:
        return self.work / "runs" / "stops" / name / "seed-3"

    def epochs(self, name: str) -> int:
        history = self.run(name) / "history.jsonl"
        return len(read_history(history)) if history.exists() else 0

    def element(self, array: str, name: str) -> str:
        return f"{array}_{RUNS.index(name)}"

    def log(self, number: str) -> str:
        stage = "tables" if "_" not in number else "run"
        return (self.work / "runs" / "stops" / "slurm" / f"{stage}-{number}.log").read_text()

    def submit(self, *more: str) -> tuple[str, str]:
        """The array's number and that of the tables' job."""
        slurm_command(self.lab, *words(self.study, self.work, "--cluster", self.site, *more))
        found = records(self.work, "stops")
        return found["run"]["job"], found["tables"]["job"]


@dataclass
class First:
    """The first submission: its array, its tables, and a third job in the way of its first run."""

    array: str
    tables: str
    rival: Row
    rival_log: str


@pytest.fixture(scope="module")
def scene(slurm: Lab, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    # Names that a shell would see more in: all of this goes well in such folders, too.
    work = tmp_path_factory.mktemp("stops") / 'it\'s "so" $HOME; true & * %j ü'
    return Scene(slurm, work, write_study(work), write_site(work))


@pytest.fixture(scope="module")
def first(scene: Scene) -> First:
    """All runs at once: one is cancelled, one warned, one in another job's way."""
    lab = scene.lab
    array, tables = scene.submit()
    # What happens to each as soon as it trains. The first waits, its directory in hand, until
    # another job has found it so.
    stops = {"stopped": (), "last": ("--batch", "--signal=USR1"), "whole": STOP}

    def all_stopped() -> bool:
        for name in [name for name in stops if scene.epochs(name)]:
            lab.run("scancel", *stops.pop(name), scene.element(array, name))
        return not stops

    lab.wait(all_stopped, 180)
    log = scene.work.parent / "rival.log"  # %j, in the name of the folder, is a pattern of sbatch
    rival = lab.run(
        *("sbatch", "--parsable", f"--chdir={ROOT}", f"--output={log}", "--gres=none"),
        *("--cpus-per-task=1", "--mem=1G", ROOT / "slurm" / "run.sbatch"),
        *words(scene.study, scene.work, "--index=0"),
        VAE_STUDY_VENV=sys.prefix,
    ).strip()
    lab.wait(over(lab, rival), 120)
    lab.run("scancel", *CONT, scene.element(array, "whole"))
    lab.wait(over(lab, array, tables), 180)
    return First(array, tables, job(lab, rival), log.read_text())


def assert_same(scene: Scene, name: str) -> None:
    """Weights, optimizer, generators, history and numbers are those of the undisturbed run."""
    one, two = scene.run("whole"), scene.run(name)
    assert differences(one, two) == []
    read = [read_json_object(run / "metrics.json")["splits"]["eval"] for run in (one, two)]
    assert read[0]["metrics"] and read[0]["metrics"] == read[1]["metrics"]
    with np.load(one / "per_image.npz") as a, np.load(two / "per_image.npz") as b:
        assert {k: a[k].tobytes() for k in a} == {k: b[k].tobytes() for k in b}


def resumed(scene: Scene, name: str) -> list[dict]:
    return read_json_object(scene.run(name) / "run.json").get("resumed", [])


def test_a_warning_sends_it_back_into_the_queue_and_it_ends_bit_for_bit(
    scene: Scene, first: First
) -> None:
    element = scene.element(first.array, "last")
    row = job(scene.lab, element)
    assert (row.state, row.restarts) == ("COMPLETED", 1)
    log = scene.log(element)
    assert f"job {element}: back in the queue for restart 1 of at most 20\n" in log
    assert f"job {element} on" in log and ", restart 1\n" in log
    assert f"{scene.run('last')}: goes on from epoch" in log
    assert len(resumed(scene, "last")) == 1
    assert_same(scene, "last")


def test_the_last_element_is_requeued_without_the_others(scene: Scene, first: First) -> None:
    """Its SLURM_JOB_ID is the whole array's."""
    rows = {row.id: row for row in scene.lab.jobs()}
    others = [rows[scene.element(first.array, name)] for name in RUNS[:-1]]
    assert [row.restarts for row in others] == [0, 0, 0]
    assert resumed(scene, "whole") == []


def test_two_jobs_on_one_run_directory_are_one_job_and_one_line(scene: Scene, first: First) -> None:
    assert first.rival.state == "FAILED"
    [line] = [line for line in first.rival_log.splitlines() if "at work" in line][-1:]
    assert "Traceback" not in first.rival_log
    assert line.startswith("slurm: ") and str(scene.run("whole")) in line
    assert job(scene.lab, scene.element(first.array, "whole")).state == "COMPLETED"
    assert not (scene.run("whole") / "failure.json").exists()


def test_a_run_that_fails_is_named_by_the_tables_job(scene: Scene, first: First) -> None:
    assert job(scene.lab, scene.element(first.array, "failing")).state == "FAILED"
    assert job(scene.lab, first.tables).state == "FAILED"
    log = scene.log(first.tables)
    assert "slurm: stops: 4 runs in all; missing: failing/seed-3 (" in log
    assert "finite" in log.splitlines()[-1]
    assert "Traceback" not in log + scene.log(scene.element(first.array, "failing"))


def test_those_that_went_well_are_in_the_table(scene: Scene, first: First) -> None:
    """That of the submission after it, of which the same holds."""
    table = (scene.work / "results" / "stops" / "table.md").read_text()
    assert "WHOLE" in table and "LAST" in table


@pytest.fixture(scope="module")
def cancelled(scene: Scene, first: First) -> tuple[int, str]:
    """After the first submission: epochs of the run that was cancelled, and its log."""
    return scene.epochs("stopped"), scene.log(scene.element(first.array, "stopped"))


def test_a_cancelled_element_stays_cancelled_and_keeps_its_checkpoint(
    scene: Scene, first: First, cancelled: tuple[int, str]
) -> None:
    element = scene.element(first.array, "stopped")
    epochs, log = cancelled
    assert (job(scene.lab, element).state, job(scene.lab, element).restarts) == ("CANCELLED", 0)
    assert 1 <= epochs < EPOCHS
    assert f"job {element}: ended by SLURM, so it does not requeue itself" in log
    assert (scene.run("stopped") / "checkpoint.pt").is_file()
    assert "; stopped/seed-3 (" in scene.log(first.tables)


@pytest.fixture(scope="module")
def second(scene: Scene, cancelled: tuple[int, str]) -> tuple[str, str]:
    """The same submission again, of the cancelled run alone. It is pre-empted, then sent the
    SIGTERM by which some sites give notice, and then its node fails."""
    lab = scene.lab
    array, tables = scene.submit("--only", "stopped")
    element = scene.element(array, "stopped")
    wait_in_training(scene)
    wanted = ("--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true")
    lab.wait(over(lab, lab.run("sbatch", "--parsable", *wanted).strip()), 60)
    process = wait_in_training(scene)
    lab.run("scancel", "--batch", "--signal=TERM", element)
    os.kill(process, signal.SIGCONT)
    wait_in_training(scene)
    lab.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test")
    lab.wait(lambda: job(lab, element).state == "PENDING", 60)
    # Refused where the node has come back by itself, as it does after a while.
    with contextlib.suppress(AssertionError):
        lab.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    lab.wait(over(lab, array, tables), 180)
    return array, tables


def wait_in_training(scene: Scene) -> int:
    """Wait until the cancelled run is an epoch further than it is; its process, which then stands
    still, so that it does not end before SLURM has got round to what comes. SLURM, which must not
    know that, wakes what it ends."""
    before = scene.epochs("stopped")
    scene.lab.wait(lambda: scene.epochs("stopped") > before, 120)
    job_of_run = f"slurm.job run {scene.study} "
    [process] = [pid for pid, words in processes().items() if job_of_run in words]
    os.kill(process, signal.SIGSTOP)
    return process


def test_the_same_submission_goes_on_and_leaves_out_what_is_done(
    scene: Scene, second: tuple[str, str]
) -> None:
    _, tables = second
    found = records(scene.work, "stops")
    assert set(found) == set(STAGES) - {"data"}, "the data were there"
    assert found["run"]["elements"] == {"2": "stopped/seed-3"}
    log = scene.log(tables)
    assert "missing: failing/seed-3 (" in log and "stopped/seed-3" not in log


def test_pre_empted_and_after_its_node_failed_it_goes_on_and_ends_bit_for_bit(
    scene: Scene, second: tuple[str, str]
) -> None:
    element = scene.element(second[0], "stopped")
    row = job(scene.lab, element)
    assert (row.state, row.restarts) == ("COMPLETED", 3)
    # The last is SLURM's own requeue, to which the job adds none. After a pre-emption it asks for
    # one, for sites where that means an end, and changes nothing where SLURM has done it already.
    log = scene.log(element)
    own = re.findall("back in the queue for restart ([0-9]+)", log)
    assert "2" in own and "3" not in own
    assert len(resumed(scene, "stopped")) == 4
    assert_same(scene, "stopped")
