"""A study of fifty runs on a real SLURM: every one is done, and in its place in the tables."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.jsonfile import read_json_object
from tests import made
from tests.forked_python import write_python
from tests.slurm_lab import Lab
from tests.slurm_study import over, records, slurm_command, words, write_site

RUNS = {"ae": "AE", "vae": "VAE"}
SEEDS = range(25)


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Path]:
    """A virtual environment whose Python need not import torch."""
    address = Path(os.path.relpath(tmp_path / "socket"))  # the whole path may be too long for one
    command = [sys.executable, "-m", "tests.forked_python", str(address)]
    process = subprocess.Popen(command, cwd=Path.cwd(), env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "socket").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    yield write_python(tmp_path / "venv", tmp_path / "socket")
    process.terminate()
    process.wait()


def test_fifty_runs(slurm: Lab, python: Path, tmp_path: Path) -> None:
    made.dataset(tmp_path / "data", "shapes")
    for name, kind in RUNS.items():
        trainer = made.trainer(made.MODELS[kind], num_epochs=1, per_device_train_batch_size=70)
        made.run_file(tmp_path, kind, name, dataset="shapes", trainer=trainer)
    study = tmp_path / "fifty.json"
    files = {name: f"{name}.json" for name in RUNS}
    study.write_text(json.dumps(made.study_config(files, name="fifty", seeds=list(SEEDS))))
    site = write_site(tmp_path, environment={"venv": str(python)}, max_parallel=8)

    said = slurm_command(slurm, *words(study, tmp_path, "--cluster", site))
    found = records(tmp_path, "fifty")
    run, tables = found["run"]["job"], found["tables"]["job"]
    assert said == f"job {run}: 50 of 50 runs\njob {tables}: tables\n"
    assert "--array=0-49%8" in found["run"]["command"]
    slurm.wait(over(slurm, run, tables), 300)

    states = {row.id: row.state for row in slurm.jobs()}
    numbers = [tables, *(f"{run}_{index}" for index in range(50))]
    assert {states[number] for number in numbers} == {"COMPLETED"}
    titles = [f"{name}/seed-{seed}" for name in RUNS for seed in SEEDS]
    assert found["run"]["elements"] == {str(i): title for i, title in enumerate(titles)}
    for index, title in enumerate(titles):
        log = tmp_path / "runs" / "fifty" / "slurm" / f"run-{run}_{index}.log"
        assert f"[1/1] {title}: " in log.read_text()
    results = read_json_object(tmp_path / "results" / "fifty" / "runs.json")
    shown = {row["name"]: [cell["seed"] for cell in row["cells"]] for row in results["rows"]}
    assert shown == {name: list(SEEDS) for name in RUNS}
