"""Pruning: what a finished run needs no more goes, and nothing else ever."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.errors import StudyError
from study.lock import locked
from study.provenance import ROOT
from study.rundir import RunDirectory
from tests.training import train, weights
from train.prune import prune_run

CHECKPOINTS = ["checkpoint.previous.pt", "checkpoint.pt"]
MB = 1_000_000


def finished(folder: Path, keep: str | None = "last") -> Path:
    """What a finished run leaves, in the sizes 1 (final), 2 (last), 3 and 4 MB (checkpoints)."""
    (folder / "final_model").mkdir(parents=True)
    engine = {} if keep is None else {"keep": keep, "a_key_to_come": 1}
    record = {"format": 1, "config": {"engine": engine}}
    (folder / "run.json").write_text(json.dumps(record))
    sizes = {"final_model/model.pt": 1, "last_model.pt": 2} | dict(
        zip(CHECKPOINTS, (3, 4), strict=True)
    )
    for name, size in sizes.items():
        (folder / name).write_bytes(bytes(size * MB))
    (folder / "history.jsonl").write_text("{}\n")
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def prune(*words: object, status: int = 0) -> tuple[str, str]:
    """Run the command; what it printed and what it complained of."""
    command = [sys.executable, "-m", "train.prune", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("keep", "gone", "freed"),
    [
        ("best", {"last_model.pt", *CHECKPOINTS}, 9),
        ("last", set(CHECKPOINTS), 7),
        ("all", {"checkpoint.previous.pt"}, 3),
    ],
)
def test_what_is_kept(tmp_path: Path, keep: str, gone: set[str], freed: int) -> None:
    run = finished(tmp_path / "run")
    before = names(run)
    assert prune_run(RunDirectory(run), keep, dry_run=True) == freed * MB
    assert names(run) == before
    assert prune_run(RunDirectory(run), keep) == freed * MB
    assert names(run) == before - gone
    assert prune_run(RunDirectory(run), keep) == 0


def test_only_those_names(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.pt").write_text("precious")
    (run / "checkpoint_epoch_5").mkdir()
    (run / "checkpoint_epoch_5" / "model.pt").write_bytes(bytes(MB))
    (run / "checkpoint_epoch_5" / "link").symlink_to(elsewhere)
    (run / "checkpoint_epoch_6").symlink_to(elsewhere)
    (run / ".checkpoint.pt.partial").write_bytes(bytes(MB))
    mine = ["checkpoint.pt.bak", "checkpoint_epoch_x", "my_last_model.pt", "metrics.json"]
    for name in mine:
        (run / name).write_text("mine")
    (run / "checkpoint.pt").unlink()
    (run / "checkpoint.pt").symlink_to(elsewhere / "model.pt")
    prune_run(RunDirectory(run), "best")
    assert (elsewhere / "model.pt").read_text() == "precious"
    kept = {"run.json", "history.jsonl", "final_model", "checkpoint_epoch_6", "checkpoint.pt"}
    assert {path.name for path in run.iterdir()} == kept | set(mine)


def test_a_run_that_is_not_finished_keeps_its_checkpoint(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    shutil.rmtree(run / "final_model")
    before = names(run)
    with pytest.raises(StudyError, match="not finished"):
        prune_run(RunDirectory(run), "best")
    assert names(run) == before


def test_command_goes_through_a_folder(tmp_path: Path) -> None:
    """Each run by its own `engine.keep`; runs that are busy, unfinished or unreadable stay."""
    runs, outside = tmp_path / "runs", finished(tmp_path / "outside")
    last = finished(runs / "a" / "last" / "seed-0")
    best = finished(runs / "a" / "best", "best")
    old = finished(runs / "old", None)
    busy = finished(runs / "busy")
    half = finished(runs / "half")
    shutil.rmtree(half / "final_model")
    damaged = finished(runs / "damaged")
    (damaged / "run.json").write_text("{")
    (runs / "link").symlink_to(outside)
    with locked(busy):
        before = names(tmp_path)
        said, complaint = prune(runs, "--dry-run", status=1)
        assert names(tmp_path) == before
        assert "6 runs: 23.0 MB would be freed" in said
        said, complaint = prune(runs, last, status=1)
    assert f"{last}: 7.0 MB freed" in said
    assert f"{best}: 9.0 MB freed" in said
    assert f"{old}: 7.0 MB freed" in said
    assert f"{busy}: left alone: another process is at work" in said
    assert f"{half}: left alone: not finished" in said
    assert f"{damaged}: left alone: " in said and "not JSON" in said
    assert said.endswith("6 runs: 23.0 MB freed\n")
    assert (
        complaint.startswith("train.prune: 1 of 6 run directories") and "\n" not in complaint[:-1]
    )
    assert names(tmp_path) == before - {
        path.relative_to(tmp_path).as_posix()
        for run in (last, best, old)
        for path in [run / name for name in CHECKPOINTS]
    } - {"runs/a/best/last_model.pt", "runs/.busy.lock"}
    said, _ = prune(busy, "--keep", "best")
    assert said == f"{busy}: 9.0 MB freed\n1 run: 9.0 MB freed\n"


def test_bad_folder_is_one_line_and_nothing_is_touched(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    before = names(run)
    for folder, what in ((tmp_path / "none", "no such folder"), (tmp_path / "empty", "no run dir")):
        said, complaint = prune(run, folder, status=2)
        assert not said and complaint.startswith(f"train.prune: {folder}: {what}")
        assert complaint.count("\n") == 1
    assert names(run) == before


def test_a_pruned_run_is_still_a_trained_one(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    before = weights(out)
    prune(tmp_path, "--keep", "best")
    assert all(bool((weights(out)[name] == value).all()) for name, value in before.items())
