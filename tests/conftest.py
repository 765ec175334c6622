"""Fixtures of several test files."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import made
from tests.reproducing import reproduce, write_study
from tests.slurm_daemons import missing
from tests.slurm_lab import Lab

# Whoever runs the tests may have wandb set up; they track where they say so.
for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A `data/` with the set `tiny`: 70 + 25 images of 1 x 28 x 28."""
    folder = tmp_path_factory.mktemp("data")
    made.dataset(folder)
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def undisturbed(study: Path, tmp_path_factory) -> tuple[Path, float]:
    """The folder of a study that nobody disturbed, and the seconds it took."""
    work = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    reproduce(study, work)
    return work, time.monotonic() - started


@pytest.fixture(scope="session")
def slurm() -> Iterator[Lab]:
    """A SLURM of one node, eight CPUs and two fake GPUs, of this process's own."""
    if why := missing():
        pytest.skip(why)
    lab = Lab()
    yield lab
    lab.stop()


@pytest.fixture
def fresh_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which wandb has met no trouble yet."""
    from study.tracking import Tracker

    monkeypatch.setattr(Tracker, "_said", set())
    monkeypatch.setattr(Tracker, "_unreachable", False)
