"""Several submissions, at once and beside each other, and the end of one of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.names import job_folder
from study.expansion import load_study
from study.lock import Busy, locked
from study.provenance import ROOT
from tests.slurm_lab import Lab
from tests.slurm_study import records, slurm_command, words, write_site, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def held(folder: Path) -> Path:
    """A cluster file by which jobs wait for ever."""
    return write_site(folder, sbatch={"cpus_per_task": 1, "mem": "1G", "options": ["--hold"]})


def waiting(lab: Lab) -> dict[str, str]:
    """Names of jobs that wait, by their number."""
    return {row.id: row.name for row in lab.jobs() if row.state == "PENDING"}


def test_two_submissions_at_once_are_one(slurm: Lab, study: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slurm", *words(study, tmp_path, "--cluster", held(tmp_path))]
    before = waiting(slurm).keys()
    both = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | slurm.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    new = {number: name for number, name in waiting(slurm).items() if number not in before}
    try:
        assert sorted(name.rpartition(".")[2] for name in new.values()) == ["run", "tables"], said
        assert sorted(records(tmp_path, "made")) == ["run", "tables"]
        [other] = [text for text in said if not text.startswith("job ")]
        assert other.count("\n") == 1
        assert any(words in other for words in ("at work", "nothing to submit")), other
    finally:
        slurm.run("scancel", *new)


def test_a_submission_under_way_is_named(slurm: Lab, study: Path, tmp_path: Path) -> None:
    before = len(slurm.jobs())
    with (
        locked(job_folder(load_study(study), tmp_path / "runs")),
        pytest.raises(Busy, match="at work"),
    ):
        slurm_command(slurm, *words(study, tmp_path, "--cluster", held(tmp_path)))
    assert len(slurm.jobs()) == before


def test_cancel_ends_this_studys_jobs_and_no_others(
    slurm: Lab, study: Path, tmp_path: Path
) -> None:
    """Those of the same study with other runs, and of others, go on."""
    site = held(tmp_path)
    before = waiting(slurm)
    slurm_command(slurm, *words(study, tmp_path, "--cluster", site))
    this = waiting(slurm).keys() - before.keys()
    other = [*words(study, tmp_path, "--cluster", site), "--runs", str(tmp_path / "elsewhere")]
    slurm_command(slurm, *other)
    slurm.run("sbatch", "--hold", "--output=/dev/null", "--job-name=made", "--wrap=true")
    others = waiting(slurm).keys() - before.keys() - this
    assert (len(this), len(others)) == (2, 3)
    try:
        slurm_command(slurm, *words(study, tmp_path, "--cancel"))
        assert waiting(slurm).keys() - before.keys() == others
    finally:
        slurm.run("scancel", *others, *this)
