"""What a submission consists of, and by which commands: no SLURM is needed to say it."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.names import job_name
from slurm.options import parser
from slurm.plan import array_of, asked_for, command, digest
from slurm.queue import Job
from slurm.submit import chosen, dry_run, plan
from study.clusters import ClusterConfig, load_cluster
from study.errors import StudyError
from study.expansion import Study, load_study
from study.files import write_json
from study.provenance import ROOT
from tests.test_clusters import LIMITS, cluster

SHAPES = ROOT / "configs" / "studies" / "shapes.json"


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(SHAPES)


def site(folder: Path, **changes: object) -> ClusterConfig:
    return load_cluster(cluster(folder, **changes))


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    folders = [f"--{name}={folder / name}" for name in ("data", "runs", "results")]
    return parser().parse_args([str(SHAPES), *folders, *more])


def running(index: int, array: str = "7", state: str = "RUNNING") -> Job:
    return Job(f"{array}_{index}", array, index, "run", state, "1:00", "n1", "None")


@pytest.mark.parametrize(
    ("indices", "text"),
    [([0], "0"), ([0, 1, 2, 5], "0-2,5"), ([9, 3, 4], "3-4,9"), ([1, 3, 5], "1,3,5")],
)
def test_indices_as_sbatch_writes_them(indices: list[int], text: str) -> None:
    assert array_of(indices) == text


def test_a_study_is_its_data_an_array_and_its_tables(study: Study, tmp_path: Path) -> None:
    what = plan(study, arguments(tmp_path), site(tmp_path), "shapes", [])
    assert [one.stage for one in what.commands()] == ["data", "run", "tables"]
    assert what.run is not None and what.run.indices == list(range(21))
    assert what.after("run", {"data": "4"}) == {"afterok": ["4"], "afterany": []}
    assert what.after("tables", {"data": "4", "run": "5"}) == {"afterany": ["5"]}
    words = what.run.words({"afterok": ["4"]})
    assert {"--dependency=afterok:4", "--kill-on-invalid-dep=yes", "--array=0-20"} < set(words)
    assert "--signal=B:USR1@300" in words and "--time=01:00:00" in words


def test_what_is_queued_is_left_out_and_its_tables_wait_for_all(study, tmp_path: Path) -> None:
    options, where = arguments(tmp_path), site(tmp_path)
    queue = [running(0), running(2, state="PENDING")]
    queue.append(Job("8", "8", None, "tables", "PENDING", "1:00", "", "Dependency"))
    what = plan(study, options, where, "shapes", queue)
    assert what.run is not None and what.run.indices == [1, *range(3, 21)] and what.busy == 2
    assert what.after("tables", {"run": "9"}) == {"afterany": ["7", "9", "8"]}
    everything = [*(running(index) for index in range(21)), queue[-1]]
    assert plan(study, options, where, "shapes", everything).commands() == []
    # Where they got lost, the tables alone are submitted, after those at work.
    lost = plan(study, options, where, "shapes", everything[:-1])
    assert [one.stage for one in lost.commands()] == ["tables"]
    assert lost.after("tables", {}) == {"afterany": ["7"]}


def test_a_run_that_is_ending_is_taken_up_when_it_has_ended(study: Study, tmp_path: Path) -> None:
    queue = [running(0, state="COMPLETING"), running(1)]
    what = plan(study, arguments(tmp_path), site(tmp_path), "shapes", queue)
    assert what.run is not None and what.run.indices == [0, *range(2, 21)] and what.busy == 1
    words = what.run.words(what.after("run", {"data": "9"}))
    assert "--dependency=afterok:9,afterany:7_0" in words


def test_an_index_is_what_it_was_when_it_was_submitted(study: Study, tmp_path: Path) -> None:
    record = tmp_path / "runs" / "shapes" / "slurm" / "7.json"
    write_json(record, {"job": "7", "stage": "run", "elements": {"0": "vae/seed-0"}})
    what = plan(study, arguments(tmp_path), site(tmp_path), "shapes", [running(0)])
    titles = [cell.title for cell in study.cells]
    assert what.run is not None
    assert what.run.indices == [i for i in range(21) if i != titles.index("vae/seed-0")]


def test_only(study: Study) -> None:
    def titles(*only: str) -> list[str]:
        return [cell.title for cell in chosen(study, only)]

    assert titles("vae/seed-1") == ["vae/seed-1"]
    assert titles("vae") == [f"vae/seed-{n}" for n in range(3)]
    assert len(titles("beta_vae")) == 6 and titles("beta_vae-beta4*") == titles("beta_vae-beta4.0")
    assert titles("vae/seed-1", "ae/seed-2") == ["ae/seed-2", "vae/seed-1"]
    assert titles("data") == []
    with pytest.raises(StudyError, match=r"--only vea: no run of shapes \(did you mean 'vae'\?\)"):
        chosen(study, ["vea"])


@pytest.mark.parametrize(
    ("only", "stages"),
    [("tables", ["tables"]), ("data", ["data"]), ("ae", ["data", "run", "tables"])],
)
def test_only_a_stage(only: str, stages: list[str], study: Study, tmp_path: Path) -> None:
    what = plan(study, arguments(tmp_path, "--only", only), site(tmp_path), "shapes", [])
    assert [one.stage for one in what.commands()] == stages


def test_a_stage_asks_for_what_the_cluster_file_says(tmp_path: Path) -> None:
    common = {"partition": "gpu", "gres": "gpu:a100:2", "mem": "32G", "options": ["--nice=5"]}
    own = {"data": {"time": "01:00:00", "gres": None}}
    where = site(tmp_path, sbatch=common, stages=LIMITS | own)
    assert asked_for(where.resources("run"), None) == [
        *("--partition=gpu", "--mem=32G", "--time=01:00:00", "--gres=gpu:a100:2", "--nice=5")
    ]
    assert "--gres=gpu:h200:2" in asked_for(where.resources("run"), "h200")
    assert "--gres=none" in asked_for(where.resources("data"), None)
    with pytest.raises(StudyError, match=r"--gpu h200: the cluster file asks for no GPU"):
        asked_for(where.resources("data"), "h200")


def test_explorer_gives_a_gpu_of_any_type_for_eight_hours(study: Study, tmp_path: Path) -> None:
    explorer = load_cluster(ROOT / "configs" / "clusters" / "explorer.json")
    call = command(study, arguments(tmp_path, "--gpu", "v100-sxm2"), explorer, "run", [3])
    asked = {"--partition=gpu", "--gres=gpu:v100-sxm2:1", "--time=08:00:00", "--array=3%8"}
    assert asked < set(call.options)
    assert call.environment["WANDB_MODE"] == "offline"
    assert call.environment["VAE_STUDY_MODULES"].split() == explorer.modules


def test_the_digest_tells_changed_runs(study: Study) -> None:
    assert digest(study) == digest(load_study(SHAPES))
    assert digest(study) == digest(load_study(SHAPES, overrides={"tracking.mode": "offline"}))
    assert digest(study) != digest(load_study(SHAPES, overrides={"trainer.num_epochs": 3}))
    assert digest(study) != digest(load_study(SHAPES, "quick"))


def test_jobs_are_called_by_study_and_folder(study: Study, tmp_path: Path) -> None:
    name = job_name(study, tmp_path / "runs", "run")
    assert name.startswith("shapes.") and name.endswith(".run")
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    assert job_name(study, tmp_path / "link", "run") == name
    assert job_name(study, tmp_path / "others", "run") != name
    assert job_name(load_study(SHAPES, "quick"), tmp_path / "runs", "run") != name


NASTY = "a b'\"$(touch stolen)`touch stolen`;touch stolen"


def test_a_dry_run_is_a_script_that_a_shell_takes_literally(study, tmp_path: Path) -> None:
    """Run by a real shell with an `sbatch` that writes down what it is given."""
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    stub = tmp_path / "bin" / "sbatch"
    stub.parent.mkdir()
    stub.write_text(
        '#!/bin/bash\nprintf "%s\\0" "$NOTE" "$@" END >>"$WRITTEN"\n'
        'echo $(( $(tr "\\0" "\\n" <"$WRITTEN" | grep -cx END) + 100 ))\n'
    )
    stub.chmod(0o755)
    where = site(tmp_path, variables={"NOTE": 'it\'s "so"; touch stolen'})
    options = arguments(folder, f"--set=tracking.notes={NASTY}", "--max-parallel=3")
    script = dry_run(study, options, where, "shapes")
    assert not (folder / "runs").exists()
    path = f"{stub.parent}:{os.environ['PATH']}"
    written = tmp_path / "written"
    environment = os.environ | {"PATH": path, "WRITTEN": str(written)}
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=environment, check=True)
    calls = [call.strip("\0").split("\0") for call in written.read_text().split("\0END\0")[:-1]]
    what = plan(study, options, where, "shapes", [])
    jobs: dict[str, str] = {}
    for number, (one, call) in enumerate(zip(what.commands(), calls, strict=True), 101):
        words = one.words(what.after(one.stage, jobs))[1:]
        assert call == ['it\'s "so"; touch stolen', *words]
        jobs[one.stage] = str(number)
    assert f"--set=tracking.notes={NASTY}" in calls[1]
    assert (folder / "runs" / "shapes" / "slurm").is_dir()
    assert not list(tmp_path.rglob("stolen"))


def test_the_job_reads_what_was_submitted(study: Study, tmp_path: Path) -> None:
    """The words behind the .sbatch file are a command line of `slurm.job`."""
    from slurm.job import of_a_study

    options = arguments(tmp_path, "--budget=quick", "--require=lpips,fid", "--set=model.beta=2")
    options.results = Path("results")
    call = command(load_study(SHAPES, "quick"), options, site(tmp_path), "run", [0])
    assert "--results=results" not in call.script  # the default needs no word
    read = of_a_study("run").parse_args(call.script[1:])
    assert read.study == Path("configs/studies/shapes.json") and read.budget == "quick"
    assert (read.data, read.runs) == (tmp_path / "data", tmp_path / "runs")
    assert read.require == ["lpips", "fid"] and read.set == ["model.beta=2"]
    assert read.max_requeues == 20 and len(read.digest) == 12


@pytest.mark.parametrize(
    ("index", "config", "said"),
    [
        ("", "shapes", "which of its runs? SLURM_ARRAY_TASK_ID is '', 0 to 20 is wanted"),
        ("21", "shapes", "which of its runs? SLURM_ARRAY_TASK_ID is '21', 0 to 20 is wanted"),
        ("3", "shapes --digest=0123456789ab", "its runs are not those that were submitted"),
        ("0", "mnist", "a compute node downloads nothing: --raw FOLDER names the raw files"),
    ],
)
def test_a_job_that_cannot_be_is_one_line(index, config, said, tmp_path: Path) -> None:
    name, *more = config.split()
    stage = "data" if name == "mnist" else "run"
    words = [stage, f"configs/studies/{name}.json", f"--data={tmp_path}", *more]
    done = subprocess.run(
        [sys.executable, "-m", "slurm.job", *words],
        cwd=ROOT,
        env=os.environ | {"SLURM_ARRAY_TASK_ID": index},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr
    assert not list(tmp_path.iterdir())


def test_commands_here_have_the_variables_of_the_jobs(study: Study, tmp_path: Path) -> None:
    """A metric whose weights lie where only the jobs looked would be missing for ever."""
    from slurm.logs import last_variables

    runs = tmp_path / "runs"
    assert last_variables(study, runs) == {}
    for job, home in (("9", "/old"), ("10", "/shared/torch")):
        variables = {"TORCH_HOME": home, "VAE_STUDY_VENV": ".venv"}
        write_json(runs / "shapes" / "slurm" / f"{job}.json", {"environment": variables})
    assert last_variables(study, runs) == {"TORCH_HOME": "/shared/torch"}
    # With a cluster file, by the command itself: it says which file was not found where.
    where = cluster(tmp_path, variables={"TORCH_HOME": str(tmp_path / "torch")})
    words = ["configs/studies/celeba64.json", f"--data={tmp_path}", "--require=lpips", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "slurm", *words, f"--cluster={where}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and f"put it into {tmp_path / 'torch' / 'hub'}" in done.stderr
