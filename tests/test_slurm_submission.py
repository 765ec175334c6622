"""What a submission hands to SLURM, and what reaches the job: as it stands, and never executed.

The Python of these jobs is a stand-in that writes down what it was given.
"""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from study.errors import StudyError
from study.provenance import ROOT
from tests.slurm_lab import Lab
from tests.slurm_study import job, over, records, slurm_command, words, write_site, write_study

MARK = "was-executed.partial"
HOSTILE = f'it\'s "so" $(touch {MARK}) `touch {MARK}`; touch {MARK} & * %j ü'
STAND_IN = """#!/bin/sh
[ "$1" = -c ] && exit 0
printf '%s\\0' "$@" >"$GIVEN.$3.words"
env -0 >"$GIVEN.$3.variables"
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def stand_in(venv: Path) -> Path:
    """A virtual environment whose Python writes down what it was given."""
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN)
    python.chmod(0o755)
    return venv


def given(tmp_path: Path, stage: str) -> tuple[list[str], dict[str, str]]:
    """The words and the variables that the Python of the stage's job was given."""
    found, variables = (
        (tmp_path / f"given.{stage}.{kind}").read_bytes().decode().split("\0")[:-1]
        for kind in ("words", "variables")
    )
    return found, dict(line.split("=", 1) for line in variables)


def run_job(lab: Lab, tmp_path: Path, *arguments: str, name: str = "made") -> str:
    """Submit, and wait for the run's job; its log."""
    slurm_command(lab, *arguments)
    return log_of(lab, tmp_path, name)


def log_of(lab: Lab, work: Path, name: str = "made") -> str:
    numbers = [record["job"] for record in records(work, name).values()]
    lab.wait(over(lab, *numbers))
    [log] = (work / "runs" / name / "slurm").glob("run-*.log")
    return log.read_text()


def nothing_was_executed(*folders: Path) -> bool:
    return not any((folder / MARK).exists() for folder in (ROOT, Path.home(), *folders))


def test_values_reach_the_job_as_they_stand(slurm: Lab, study: Path, tmp_path: Path) -> None:
    """In --set, in the names of folders, in the cluster file's variables and environment."""
    work = tmp_path / HOSTILE
    (tmp_path / "data").rename(tmp_path / "prepared")
    work.mkdir()
    (tmp_path / "prepared").rename(work / "data")
    plain = 'it\'s "so"; touch was-executed.partial & * %j \\ ü'
    venv = stand_in(tmp_path / 'it\'s "so"; * ü')
    variables = {"GREETING": plain, "EMPTY": "", "GIVEN": str(tmp_path / "given")}
    site = write_site(tmp_path, environment={"venv": str(venv)}, variables=variables)
    notes = f"tracking.notes={HOSTILE}\nand a second line\n"
    log = run_job(slurm, work, *words(study, work, "--cluster", site, "--set", notes))
    assert log == ""
    for stage in ("run", "tables"):
        found, environment = given(tmp_path, stage)
        assert found[:4] == ["-m", "slurm.job", stage, str(study)]
        assert found[4:7] == [f"--{name}={work / name}" for name in ("data", "runs", "results")]
        assert found[7] == f"--set={notes}"
        assert {name: environment[name] for name in variables} == variables
    assert nothing_was_executed(tmp_path, work)


def test_a_folder_in_which_slurm_would_write_no_log_is_refused(
    slurm: Lab, study: Path, tmp_path: Path
) -> None:
    work = tmp_path / "back\\slash"
    with pytest.raises(StudyError, match="no log below a folder with a backslash"):
        slurm_command(slurm, *words(study, work, "--cluster", write_site(tmp_path)))
    assert not work.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"variables": {"X": f"$(touch {MARK})"}},
        {"variables": {"X": "two\nlines"}},
        {"modules": [f"x; touch {MARK}"]},
        {"environment": {"conda": f"$(touch {MARK})"}},
        {"sbatch": {"partition": f"$(touch {MARK})"}},
    ],
)
def test_what_a_cluster_file_may_not_hold_is_refused(
    changes: dict, slurm: Lab, study: Path, tmp_path: Path
) -> None:
    before = len(slurm.jobs())
    site = write_site(tmp_path, **changes)
    with pytest.raises(StudyError, match="site.json: "):
        slurm_command(slurm, *words(study, tmp_path, "--cluster", site))
    assert len(slurm.jobs()) == before
    assert nothing_was_executed(tmp_path)


# --- modules and environments --------------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder of modulefiles with one in it, which sets a variable and another's path."""
    if not Path("/usr/share/modules/init/bash").exists():
        pytest.skip("environment-modules is not installed")
    folder = tmp_path / "modulefiles"
    (folder / "tools").mkdir(parents=True)
    (folder / "tools" / "1.2").write_text("#%Module\nsetenv TOOLS_ARE loaded\n")
    return folder


def test_modules_are_loaded(slurm: Lab, study: Path, tmp_path: Path, modules: Path) -> None:
    venv = stand_in(tmp_path / "venv")
    variables = {"MODULEPATH": str(modules), "GIVEN": str(tmp_path / "given")}
    more = {"modules": ["tools/1.2"], "environment": {"venv": str(venv)}}
    site = write_site(tmp_path, variables=variables, **more)
    assert run_job(slurm, tmp_path, *words(study, tmp_path, "--cluster", site)) == ""
    assert given(tmp_path, "run")[1]["TOOLS_ARE"] == "loaded"


def test_a_module_that_is_not_there_is_one_line(
    slurm: Lab, study: Path, tmp_path: Path, modules: Path
) -> None:
    site = write_site(tmp_path, modules=["tools/9"], variables={"MODULEPATH": str(modules)})
    log = run_job(slurm, tmp_path, *words(study, tmp_path, "--cluster", site))
    assert "'module load tools/9' failed" in log.splitlines()[-1]
    assert_status_2(slurm, tmp_path)


CONDA = """#!/bin/sh
# Stands in for conda: 'conda shell.bash hook' prints the functions that a shell is to have.
cat <<'END'
conda() {
    [[ $1 = activate && -d $STAND_IN_ENVS/$2 ]] || { echo "EnvironmentNameNotFound: $2"; return 1; }
    # What is active already keeps its place on PATH.
    [[ $CONDA_PREFIX = $STAND_IN_ENVS/$2 ]] || export PATH="$STAND_IN_ENVS/$2/bin:$PATH"
    export CONDA_PREFIX=$STAND_IN_ENVS/$2 CONDA_DEFAULT_ENV=$2
}
END
"""


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    """A folder of environments, with `vae-study` in it, and a `conda` in front of PATH."""
    stand_in(tmp_path / "envs" / "vae-study")
    program = tmp_path / "commands" / "conda"
    program.parent.mkdir()
    program.write_text(CONDA)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("name", "active"), [("vae-study", False), ("vae-study", True), ("nobody", False)]
)
def test_a_conda_environment_is_activated(
    name: str, active: bool, slurm: Lab, study: Path, tmp_path: Path, conda: Path
) -> None:
    """Also where it was active when the study was submitted, and another Python comes first."""
    variables = {"STAND_IN_ENVS": str(tmp_path / "envs"), "GIVEN": str(tmp_path / "given")}
    site = write_site(tmp_path, environment={"conda": name}, variables=variables)
    path = f"{conda.parent}:{os.environ['PATH']}"
    before = {"CONDA_PREFIX": str(tmp_path / "envs" / name)} if active else {}
    with mock.patch.dict(os.environ, {"PATH": path} | before):
        log = run_job(slurm, tmp_path, *words(study, tmp_path, "--cluster", site))
    if name == "vae-study":
        assert log == ""
        assert given(tmp_path, "run")[1]["CONDA_DEFAULT_ENV"] == name
    else:
        assert "'conda activate nobody' failed" in log.splitlines()[-1]
        assert_status_2(slurm, tmp_path)


def test_where_there_is_no_conda_it_is_one_line(slurm: Lab, study: Path, tmp_path: Path) -> None:
    site = write_site(tmp_path, environment={"conda": "vae-study"})
    log = run_job(slurm, tmp_path, *words(study, tmp_path, "--cluster", site))
    assert "there is no 'conda' to activate vae-study with" in log
    assert log.count("\n") == 1
    assert_status_2(slurm, tmp_path)


def assert_status_2(lab: Lab, work: Path) -> None:
    number = records(work, "made")["run"]["job"]
    shown = lab.run("scontrol", "show", "job", f"{number}_0")
    assert "ExitCode=2:0" in shown and job(lab, f"{number}_0").state == "FAILED"


def test_a_python_without_the_packages_is_one_line(slurm: Lab, study: Path, tmp_path: Path) -> None:
    venv = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = write_site(tmp_path, environment={"venv": str(venv)})
    log = run_job(slurm, tmp_path, *words(study, tmp_path, "--cluster", site))
    assert f"{venv}/bin/python does not run, is older than Python 3.11, or has not" in log
    assert log.count("\n") == 1
    assert_status_2(slurm, tmp_path)


def test_a_virtual_environment_that_is_not_there_is_refused_at_once(
    slurm: Lab, study: Path, tmp_path: Path
) -> None:
    site = write_site(tmp_path, environment={"venv": str(tmp_path / "none")})
    with pytest.raises(StudyError, match="environment.venv: .*is no virtual environment"):
        slurm_command(slurm, *words(study, tmp_path, "--cluster", site))
