"""Whole studies on a real SLURM, from the data to the tables, and one that meets its time limit."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm.names import STAGES
from study.jsonfile import read_json_object
from study.provenance import ROOT
from tests import made
from tests.slurm_lab import Lab
from tests.slurm_study import job, over, records, slurm_command, words, write_site
from train.history import read_history

SHAPES = ROOT / "configs" / "studies" / "shapes.json"
RUNS = ["ae", "wae_mmd", "vae", "beta_vae-beta0.65", "beta_vae-beta4.0"]
# One seed of five runs; no classifier is trained, which takes a minute.
TINY = [
    "--budget=quick",
    "--set=trainer.num_epochs=1",
    "--set=evaluation.images=100",
    "--set=evaluation.samples=100",
    "--set=evaluation.features=[]",
    "--set=evaluation.nll_samples=2",
    '--set=evaluation.finite={"threshold": 3.0, "samples": 100}',
]
EPOCHS = 6


@dataclass
class Limited:
    """A study of one run that has a minute, and meets its limit in the middle of training."""

    work: Path
    # Its only element.
    element: str
    tables: str

    @property
    def out(self) -> Path:
        return self.work / "runs" / "limited" / "vae" / "seed-0"

    @property
    def epochs(self) -> int:
        history = self.out / "history.jsonl"
        return len(read_history(history)) if history.exists() else 0


def submit_limited(lab: Lab, work: Path) -> Limited:
    """Start it, and have it stand still as soon as it trains: the clock goes on, and costs
    nothing."""
    made.dataset(work / "data", "shapes", counts=(1200, 100))
    changes = {"num_epochs": EPOCHS, "per_device_train_batch_size": 4}
    made.run_file(
        work, name="vae", dataset="shapes", trainer=made.trainer(made.MODELS["VAE"], **changes)
    )
    study = work / "limited.json"
    study.write_text(json.dumps(made.study_config({"vae": "vae.json"}, name="limited", seeds=[0])))
    stages = {"data": {"time": "00:10:00"}, "run": {"time": "00:01:00"}}
    site = write_site(work, stages=stages | {"tables": {"time": "00:10:00"}})
    slurm_command(lab, *words(study, work, "--cluster", site))
    found = records(work, "limited")
    limited = Limited(work, f"{found['run']['job']}_0", found["tables"]["job"])
    lab.wait(lambda: limited.epochs >= 1, 120)
    # SLURM's warning wakes it.
    lab.run("scancel", "--batch", "--signal=STOP", limited.element)
    assert limited.epochs < EPOCHS
    return limited


@pytest.fixture(scope="module")
def limited(slurm: Lab, tmp_path_factory: pytest.TempPathFactory) -> Limited:
    """Started before the study below, so that SLURM's clock goes on meanwhile."""
    return submit_limited(slurm, tmp_path_factory.mktemp("limited"))


@dataclass
class Shapes:
    work: Path
    said: str
    # The records of its jobs by stage.
    records: dict[str, dict]


@pytest.fixture(scope="module")
def shapes(slurm: Lab, limited: Limited, tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    work = tmp_path_factory.mktemp("shapes")
    said = slurm_command(slurm, *words(SHAPES, work, "--cluster", write_site(work), *TINY))
    found = records(work, "shapes-quick")
    slurm.wait(over(slurm, *(record["job"] for record in found.values())), 300)
    return Shapes(work, said, found)


def test_the_whole_study_is_three_submissions(slurm: Lab, shapes: Shapes) -> None:
    data, run, tables = (shapes.records[stage]["job"] for stage in STAGES)
    assert shapes.said == f"job {data}: data\njob {run}: 5 of 5 runs\njob {tables}: tables\n"
    rows = [job(slurm, number) for number in (data, tables, *(f"{run}_{i}" for i in range(5)))]
    assert {row.state for row in rows} == {"COMPLETED"}
    assert {row.restarts for row in rows} == {0}
    assert shapes.records["run"]["elements"] == {
        str(index): f"{name}/seed-0" for index, name in enumerate(RUNS)
    }
    assert f"--dependency=afterok:{data}" in shapes.records["run"]["command"]
    assert f"--dependency=afterany:{run}" in shapes.records["tables"]["command"]


def test_every_run_is_trained_and_measured_and_in_the_tables(shapes: Shapes) -> None:
    runs = shapes.work / "runs" / "shapes-quick"
    for name in RUNS:
        out = runs / name / "seed-0"
        assert len(read_history(out / "history.jsonl")) == 1
        assert read_json_object(out / "metrics.json")["splits"]["eval"]["metrics"]
    results = shapes.work / "results" / "shapes-quick"
    found = read_json_object(results / "runs.json")
    assert [row["name"] for row in found["rows"]] == RUNS
    table = (results / "reconstruction.md").read_text()
    assert all(f"| {label} " in table for label in ("AE", "WAE-MMD", "VAE", "β-VAE (β = 4)"))
    assert (results / "VERDICTS.md").is_file() and (results / "reconstructions.png").is_file()
    assert not list(shapes.work.rglob("failure.json"))


def test_there_are_one_log_and_one_record_a_job(shapes: Shapes) -> None:
    folder = shapes.work / "runs" / "shapes-quick" / "slurm"
    data, run, tables = (shapes.records[stage]["job"] for stage in STAGES)
    logs = [f"data-{data}.log", f"tables-{tables}.log", *(f"run-{run}_{i}.log" for i in range(5))]
    names = sorted([*logs, *(f"{number}.json" for number in (data, run, tables))])
    assert sorted(file.name for file in folder.iterdir()) == names
    for name in logs:
        first = (folder / name).read_text().splitlines()[0]
        assert first.startswith(f"job {name.partition('-')[2].removesuffix('.log')} on ")


def test_a_second_submission_has_nothing_to_do(slurm: Lab, shapes: Shapes) -> None:
    site = write_site(shapes.work)
    command = words(SHAPES, shapes.work, "--cluster", site, *TINY, "--dry-run")
    assert "nothing to submit: of the runs asked for 5 are done" in slurm_command(slurm, *command)
    said = slurm_command(slurm, *command, "--only", "tables")
    assert "slurm/tables.sbatch" in said and "slurm/run.sbatch" not in said


def test_a_run_that_meets_its_time_limit_goes_back_into_the_queue_and_ends(
    slurm: Lab, limited: Limited, shapes: Shapes
) -> None:
    """SLURM's own clock, which looks every half minute, warns it."""
    slurm.wait(over(slurm, limited.element.partition("_")[0], limited.tables), 180)
    row = job(slurm, limited.element)
    assert (row.state, row.restarts) == ("COMPLETED", 1)
    log = limited.work / "runs" / "limited" / "slurm" / f"run-{limited.element}.log"
    assert "back in the queue for restart 1 of at most 20" in log.read_text()
    assert "slurm: stopped by SIGUSR1; the same command goes on" in log.read_text()
    record = read_json_object(limited.out / "run.json")
    assert len(record["resumed"]) == 1
    assert limited.epochs == EPOCHS
    assert (limited.work / "results" / "limited" / "table.md").is_file()
