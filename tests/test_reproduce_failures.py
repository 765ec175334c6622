"""`reproduce.py` killed in the middle, and with runs that fail."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from study.rundir import RunDirectory
from tests.reproducing import command, reproduce, snapshot, write_study


@pytest.mark.parametrize("share", [0.15, 0.45, 0.6, 0.75, 0.9])
def test_sigkill_and_again_ends_with_the_same_files(
    share: float, undisturbed, study: Path, tmp_path: Path
) -> None:
    """Killed at a moment around `share` of an undisturbed run's time, wherever that falls."""
    whole, seconds = undisturbed
    process = subprocess.Popen(
        command(study, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds * (share + random.uniform(-0.05, 0.05)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    reproduce(study, tmp_path)
    one, two = snapshot(whole), snapshot(tmp_path)
    assert one.keys() == two.keys()
    for name in one:
        assert one[name] == two[name], name


def test_a_run_that_fails_is_passed_over_and_named(tmp_path: Path) -> None:
    runs = [
        {
            "name": "vae",
            "config": "vae.json",
            "label": "VAE",
            "set": {"trainer.learning_rate": 1e30},
        },
        {"name": "ae", "config": "ae.json", "label": "AE"},
    ]
    study = write_study(tmp_path, runs=runs, seeds=[0])
    work = tmp_path / "work"
    done = reproduce(study, work, status=1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("reproduce: not all went well (2 runs in all): vae/seed-0: train: ")
    assert last.count("seed-0: train") == 1
    assert " became " in last and "Traceback" not in done.stderr
    table = (work / "results/made/table.md").read_text()
    assert "0 of 1" in table and "| AE " in table
    assert RunDirectory(work / "runs/made/ae/seed-0").trained
    shown = reproduce(study, work, "--status").stdout
    assert "failed" in shown


def test_an_unforeseen_error_in_a_run_is_passed_over_too(tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=[0])
    work = tmp_path / "work"
    done = reproduce(study, work, "--only", "train", status=2)
    assert done.stderr.count("\n") == 1 and "shapes: no prepared data set" in done.stderr
    reproduce(study, work, "--only", "data")
    reproduce(study, work, "--only", "train")
    weights = work / "runs/made/ae/seed-0/final_model/model.pt"
    weights.write_bytes(b"")
    done = reproduce(study, work, status=1)
    assert "(2 runs in all): ae/seed-0: evaluate: " in done.stderr
    assert "model.pt: cannot be loaded" in done.stderr
    assert "| VAE " in (work / "results/made/table.md").read_text()


def test_every_run_that_fails_is_named_even_where_no_table_can_be_made(tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=[0])
    done = reproduce(study, tmp_path / "work", "--set", "trainer.learning_rate=1e30", status=1)
    last = done.stderr.splitlines()[-1]
    assert "ae/seed-0: train: " in last and "vae/seed-0: train: " in last
    assert "no table is made" in last


def test_leftovers_of_killed_writings_go(undisturbed, study: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(undisturbed[0], work)
    run = work / "runs/made/ae/seed-0"
    (run / "metrics.json").unlink()
    planted = [run / ".metrics.json.partial", run / ".per_image.npz.partial"]
    planted += [work / "results/made/.README.md.partial", work / "results/made/.table.csv.partial"]
    for path in planted:
        path.write_text("half")
    reproduce(study, work)
    assert not any(path.exists() for path in planted)
    assert snapshot(work).keys() == snapshot(undisturbed[0]).keys()
