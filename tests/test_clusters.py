"""Cluster files: what they may say, what a stage's jobs ask for, what is refused in what words."""

import json
from pathlib import Path

import pytest

from slurm.names import STAGES
from study.clusters import Stages, load_cluster
from study.errors import StudyError
from study.provenance import ROOT

LIMITS = {stage: {"time": "01:00:00"} for stage in STAGES}


def cluster(folder: Path, **changes: object) -> Path:
    """A cluster file with nothing but time limits; `changes` are further keys."""
    path = folder / "site.json"
    path.write_text(json.dumps({"stages": LIMITS} | changes))
    return path


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("configs/clusters/*.json")), ids=lambda path: path.stem
)
def test_every_cluster_file_loads(path: Path) -> None:
    site = load_cluster(path)
    assert site.comment
    for stage in STAGES:
        assert site.resources(stage).time


def test_stages_are_those_of_the_jobs() -> None:
    assert tuple(Stages.model_fields) == STAGES


def test_a_stage_goes_over_what_all_jobs_ask_for(tmp_path: Path) -> None:
    common = {"partition": "gpu", "gres": "gpu:1", "mem": "32G", "options": ["--exclusive"]}
    own = {"gres": None, "mem": "8G", "options": ["--mail-type=END"], "time": "2-00:00:00"}
    site = load_cluster(cluster(tmp_path, sbatch=common, stages=LIMITS | {"data": own}))
    data, run = site.resources("data"), site.resources("run")
    assert (data.partition, data.gres, data.mem, data.time) == ("gpu", None, "8G", "2-00:00:00")
    assert data.options == ["--exclusive", "--mail-type=END"]
    assert (run.gres, run.mem, run.time) == ("gpu:1", "32G", "01:00:00")
    assert run.options == ["--exclusive"]


@pytest.mark.parametrize("time", ["00:10:00", "36:00:00", "168:00:00", "7-23:59:59", "0-00:30:00"])
def test_time_limits(time: str, tmp_path: Path) -> None:
    path = cluster(tmp_path, stages=LIMITS | {"run": {"time": time}})
    assert load_cluster(path).resources("run").time == time


def stage(**changes: object) -> dict:
    return {"stages": LIMITS | {"run": {"time": "01:00:00"} | changes}}


BAD = {
    "minutes": (stage(time="90"), "stages.run.time: a time limit such as 36:00:00"),
    "24 hours beside days": (stage(time="1-24:00:00"), "stages.run.time: a time limit"),
    "no limit": (stage(time="0-00:00:00"), "stages.run.time: a time limit"),
    "no time": ({"stages": LIMITS | {"data": {}}}, "stages.data.time: this key is missing"),
    "no stage": ({"stages": {"run": LIMITS["run"]}}, "stages.data: this key is missing"),
    "unknown stage": (
        {"stages": LIMITS | {"rnu": LIMITS["run"]}},
        "stages.rnu: unknown key (did you mean 'run'?)",
    ),
    "memory without unit": ({"sbatch": {"mem": "16000"}}, "sbatch.mem: an amount with its unit"),
    "memory as a number": ({"sbatch": {"mem": 16}}, "sbatch.mem: Input should be a valid string"),
    "no CPU": ({"sbatch": {"cpus_per_task": 0}}, "sbatch.cpus_per_task: Input should be greater"),
    "sbatch's spelling": (
        {"sbatch": {"cpus-per-task": 8}},
        "sbatch.cpus-per-task: unknown key (did you mean 'cpus_per_task'?)",
    ),
    "two words": ({"sbatch": {"partition": "gpu --nice"}}, "sbatch.partition: one word"),
    "an option as a name": ({"sbatch": {"account": "--nice"}}, "sbatch.account: one word"),
    "an option with a key": (
        {"sbatch": {"options": ["--partition=gpu"]}},
        "sbatch.options.0: an option such as --mail-type=END, in full, and none that has a key",
    ),
    "an option of what submits": ({"sbatch": {"options": ["--array=0-3"]}}, "sbatch.options.0: an"),
    "an option cut short": ({"sbatch": {"options": ["--job-n=x"]}}, "sbatch.options.0: an option"),
    "an option that waits": ({"sbatch": {"options": ["--wait"]}}, "sbatch.options.0: an option"),
    "two options in one": ({"sbatch": {"options": ["nice"]}}, "sbatch.options.0: an option"),
    "module": ({"modules": [""]}, "modules.0: a module's name"),
    "a command as a module": ({"modules": ["$(touch x)"]}, "modules.0: a module's name"),
    "a quote": ({"sbatch": {"partition": "g'pu"}}, "sbatch.partition: one word"),
    "a variable": ({"sbatch": {"account": "$USER"}}, "sbatch.account: one word"),
    "two lines": ({"variables": {"A": "a\nb"}}, "variables.A: a value as it is, in one line"),
    "a variable in a value": ({"variables": {"A": "$HOME/x"}}, "variables.A: a value as it is"),
    "a variable of SLURM's": (
        {"variables": {"SLURM_JOB_ID": "1"}},
        "variables.SLURM_JOB_ID: the name of a variable",
    ),
    "no environment": ({"environment": {}}, "environment: one of 'venv' and 'conda' is wanted"),
    "two environments": (
        {"environment": {"venv": ".venv", "conda": "a"}},
        "environment: one of 'venv' and 'conda' is wanted",
    ),
    "a command as an environment": (
        {"environment": {"conda": "a;$(touch x)"}},
        "environment.conda: a conda environment's name",
    ),
    "shorter than the warning": (
        {"warning": 3600},
        "the time limit of stages.run is not longer than 'warning'",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_cluster_file_names_key_and_remedy(case: str, tmp_path: Path) -> None:
    changes, message = BAD[case]
    path = cluster(tmp_path, **changes)
    with pytest.raises(StudyError) as error:
        load_cluster(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert error.value.status == 2 and "\n" not in str(error.value)
