"""The set-up layer: the lock, setup_venv.sh, the Makefile and .gitignore. No network."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))


# --- requirements.lock ---------------------------------------------------------------------------


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def locked(python: str, platform: tuple[str, str]) -> dict[str, str]:
    """Name -> version of what the lock installs there; a package named twice fails."""
    system, machine = platform
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
    }
    versions = {}
    for requirement in map(Requirement, lock_lines()):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} is in the lock twice for {python}, {platform}"
            (pin,) = requirement.specifier
            versions[name] = pin.version
    return versions


def test_every_line_of_the_lock_is_one_exact_version():
    assert "://" not in (ROOT / "requirements.lock").read_text()
    for line in lock_lines():
        assert not line.startswith("-") and " --" not in line, f"an option for pip: {line}"
        requirement = Requirement(line)
        assert requirement.url is None, line
        (pin,) = requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version, line
        assert "+" not in pin.version, f"a local version exists on some machines only: {line}"


@pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_every_dependency_inside_its_range(python, platform):
    versions = locked(python, platform)
    wanted = PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in the lock"
        assert requirement.specifier.contains(version), f"{requirement} but locked {version}"

    assert (versions["torch"], versions["torchvision"]) == ("2.7.1", "0.22.1")
    assert versions["dataclasses"] == "0.6"  # pythae requires it, and 0.8 does not install
    with_cuda = platform == ("linux", "x86_64")
    assert ("triton" in versions) == with_cuda
    assert any(name.startswith("nvidia-") for name in versions) == with_cuda
    if python != "3.11" or with_cuda:  # torch asks for it from 3.12 on, triton always
        assert "setuptools" in versions


def test_the_pythons_are_the_same_everywhere():
    assert PYPROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "setup_venv.sh").read_text()


# --- setup_venv.sh -------------------------------------------------------------------------------

# Takes the place of a Python: what it gets by -c it runs under another version number; `-m venv`
# and `-m pip` it only writes down, with its own name, and makes what the script will look at.
PRETENDER = """
import os, shutil, sys
folder, itself, version, has_venv, *arguments = sys.argv[1:]
if arguments[0] == "-I":
    del arguments[0]
if arguments[0] == "-c":
    sys.version_info = (*map(int, version.split(".")), 0, "final", 0)
    sys._base_executable = itself
    sys.modules["pip"] = os  # any module will do
    if has_venv == "no":
        sys.modules["ensurepip"] = None  # its import now fails, as without Debian's package
    exec(arguments[1])
    sys.exit()
with open(os.path.join(folder, "calls"), "a") as calls:
    print(os.path.basename(itself), *arguments[1:3], file=calls)
if os.path.exists(os.path.join(folder, "no " + arguments[2])):
    sys.exit("pip: something went wrong")
if arguments[1] == "venv":
    os.makedirs(os.path.join(arguments[2], "bin"))
    shutil.copy(itself, os.path.join(arguments[2], "bin", "python"))
"""


class Place:
    """A copy of the script, a short lock, and a PATH with only what a test put there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.project = folder / "the project"
        self.bin = folder / "bin"
        self.venv = self.project / "my venv"
        self.stamp = self.venv / "requirements.lock"
        self.project.mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "setup_venv.sh", self.project)
        self.lock = self.project / "requirements.lock"
        self.lock.write_text("# nothing\n")
        for tool in ["cat", "cmp", "cp", "dirname", "find", "ls", "mkdir", "rm", "sh", "touch"]:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def python(self, name="python3", version="3.12", has_venv="yes") -> None:
        (self.folder / "pretender.py").write_text(PRETENDER)
        start = shlex.join([sys.executable, "-S", f"{self.folder}/pretender.py", str(self.folder)])
        self.script(name, f'exec {start} "$0" {version} {has_venv} "$@"')

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.project / "setup_venv.sh", *(arguments or ["my venv"])],
            cwd=self.project,
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[str]:
        """What the Pythons were asked to do since the last look."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


INSTALL = ["python3 venv my venv", "python pip install", "python pip check"]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one line that a refusal consists of."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_no_python(place):
    line = refusal(place.run())
    assert "no Python" in line and "3.11, 3.12 or 3.13" in line
    assert "apt install python3 python3-venv" in line and "conda create" in line
    assert not place.venv.exists()


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_a_python_of_the_wrong_version(place, version):
    place.python(version=version)
    line = refusal(place.run())
    assert f"python3 is Python {version}" in line and "3.11, 3.12 or 3.13" in line
    assert "apt install" in line and "conda create" in line


def test_a_python_without_venv(place):
    place.python(version="3.11", has_venv="no")
    line = refusal(place.run())
    assert "python3 is Python 3.11 without its venv module" in line
    assert "apt install python3.11-venv" in line


def test_every_python_that_was_tried_is_named(place):
    place.python("python3", version="3.9")
    place.script("python3.13", "exit 127")  # a version manager's shim with nothing behind it
    place.python("python", version="3.14")
    line = refusal(place.run())
    assert "python3 is Python 3.9, python3.13 does not run, python is Python 3.14" in line


def test_the_first_python_that_fits_is_taken(place):
    place.python("python3", version="3.14")
    place.script("python3.13", "exit 127")
    place.python("python3.12", version="3.12", has_venv="no")
    place.python("python3.11", version="3.11")
    assert place.run().returncode == 0
    assert place.calls()[0] == "python3.11 venv my venv"


def test_python_from_the_environment_is_the_only_one_tried(place):
    place.python("python3")
    place.python("an old python", version="3.10")
    old, gone = str(place.bin / "an old python"), str(place.bin / "gone")
    assert f"PYTHON={old} is Python 3.10" in refusal(place.run(PYTHON=old))
    assert f"PYTHON={gone} is not there" in refusal(place.run(PYTHON=gone))
    place.python("my python", version="3.13")
    assert place.run(PYTHON=str(place.bin / "my python")).returncode == 0
    assert place.calls()[0] == "my python venv my venv"


def test_it_installs_once_and_again_when_the_lock_changes(place):
    place.python()
    for text in ("# nothing\n", "# nothing more\n"):
        place.lock.write_text(text)
        first, second = place.run(), place.run()
        assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
        assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
        assert place.calls() == INSTALL
        assert place.stamp.read_text() == text
    place.lock.touch()  # a newer date alone is no reason
    assert place.run().returncode == 0
    assert place.calls() == []


@pytest.mark.parametrize("step, said", [("install", "could not install"), ("check", "do not fit")])
def test_what_pip_failed_at_is_said_last_and_tried_again(place, step, said):
    place.python()
    obstacle = place.folder / f"no {step}"
    obstacle.touch()
    for _ in range(2):
        result = place.run()
        assert result.returncode == 1 and result.stdout == ""
        *before, last = result.stderr.splitlines()
        assert before == ["pip: something went wrong"]
        assert last.startswith("setup_venv.sh: ") and said in last
        assert not place.stamp.exists()
        assert f"python pip {step}" in place.calls()
    obstacle.unlink()
    assert place.run().returncode == 0
    assert place.calls() == INSTALL


def test_a_python_that_no_longer_runs_is_replaced(place):
    place.python()
    assert place.run().returncode == 0
    (place.venv / "bin" / "python").unlink()
    (place.venv / "left over").touch()
    place.calls()
    assert place.run().returncode == 0
    assert place.calls() == INSTALL
    assert not (place.venv / "left over").exists()


def test_a_folder_that_it_did_not_make_is_left_alone(place):
    place.python()
    place.venv.mkdir()
    (place.venv / "thesis.tex").touch()
    (place.venv / "pyvenv.cfg").touch()
    assert "was not made by this script" in refusal(place.run())
    assert (place.venv / "thesis.tex").exists()
    assert place.calls() == []


@pytest.mark.parametrize("arguments", [("--help",), ("one", "two")])
def test_wrong_arguments(place, arguments):
    assert "usage" in refusal(place.run(*arguments))


def test_with_a_real_python(place):
    """venv and pip take what the script gives them; an empty lock needs no network."""
    place.script("python3", f'exec {shlex.quote(sys.executable)} "$@"')
    elsewhere = place.folder / "a larger disk"
    elsewhere.mkdir()
    place.venv.symlink_to(elsewhere)
    result = place.run()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (elsewhere / "bin" / "python").exists()
    assert place.stamp.read_text() == place.lock.read_text()


# --- Makefile, .ci/run and .gitignore ------------------------------------------------------------


def make(*arguments: str) -> list[str]:
    """The lines that make would run."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # What the make that runs these tests was told must not reach this one.
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "ARGS", "STUDY")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    command = ["make", "-n", *arguments]
    return subprocess.check_output(command, cwd=ROOT, env=environment, text=True).splitlines()


@pytest.mark.parametrize("target", ["reproduce", "test", "lint", "check", "format", "bench"])
def test_make_sets_up_first_and_once(target):
    lines = make(target)
    assert lines[0] == './setup_venv.sh ".venv"'
    assert sum(line.startswith("./setup_venv.sh") for line in lines) == 1


def test_make_runs_what_the_readme_says():
    assert not any("setup_venv.sh" in line for line in make())  # it only lists the targets
    command = '".venv/bin/python" reproduce.py configs/studies/shapes.json'
    assert make("reproduce")[-1].rstrip() == f"{command} --budget quick"
    assert make("reproduce", "ARGS=")[-1].rstrip() == command
    lines = make("reproduce", "VENV=my venv", "STUDY=s.json", "ARGS=--seeds 1")
    assert lines[0] == './setup_venv.sh "my venv"'
    assert lines[-1] == '"my venv/bin/python" reproduce.py s.json --seeds 1'
    line = 'OMP_NUM_THREADS=1 ".venv/bin/python" -m pytest -n 2 --dist loadfile'
    assert make("test")[-1].rstrip() == line


@pytest.mark.parametrize("name", ["setup_venv.sh", ".ci/run"])
def test_scripts_can_be_run(name):
    assert os.access(ROOT / name, os.X_OK)


IGNORED = """
.venv/bin/python  .venv-3.12/bin/python  data  data/mnist/train_data.npz  raw/celeba/list.txt
runs/shapes/vae/seed-0/run.json  wandb/offline-run-1/run-1.wandb  slurm-17.out
results/shapes/table.csv.partial-17  study/__pycache__/runs.cpython-312.pyc
.pytest_cache/README.md  .ruff_cache/CACHEDIR.TAG
"""
KEPT = """
data_prep/__main__.py  configs/runs/mnist/vae.json  configs/studies/shapes.json
results/shapes/table.csv  results/reference/mnist.json  tests/data/one.npz  slurm/train.sbatch
requirements.lock  .ci/run
"""


def test_git_ignores_what_is_made_and_nothing_else():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    command = ["git", "check-ignore", "--no-index", *IGNORED.split(), *KEPT.split()]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ignored.splitlines() == IGNORED.split()
