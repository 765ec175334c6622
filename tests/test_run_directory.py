"""The run directory: whose it is, what is deleted in it, one process at a time."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from study.datasets import open_dataset
from study.errors import StudyError
from study.lock import Busy, is_held, locked
from study.owner import this_process, to_text
from study.provenance import ROOT
from study.rundir import RunDirectory
from study.runs import load_run
from tests import made
from tests.training import train, weights
from train.history import read_history
from train.run import load_trained, run_identity, train_run


def test_run_json_says_what_ran(tmp_path: Path, data: Path) -> None:
    record = json.loads((train(tmp_path, data) / "run.json").read_text())
    assert record["config"]["model"]["input_dim"] == [1, 28, 28]
    assert record["config"]["trainer"]["optimizer_cls"] == "Adam"
    assert record["data"]["sha256"] == open_dataset(data, "tiny").hashes()
    assert record["data"]["images"] == {"train": 70, "eval": 25}
    assert record["versions"]["torch"] and record["machine"]["cores"]
    assert set(record["parameters"]) == {"encoder", "decoder"}


def test_finished_run_is_left_alone(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    before = {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))}
    run, dataset = load_run(made.run_file(tmp_path)), open_dataset(data, "tiny")
    assert train_run(run, dataset, out) is False
    assert {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))} == before


def test_another_run_in_the_directory_is_refused(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    run, dataset = load_run(made.run_file(tmp_path), seed=9), open_dataset(data, "tiny")
    with pytest.raises(StudyError, match=r"config.trainer.seed is 3 there, 9 now; .*--overwrite"):
        train_run(run, dataset, out)
    assert load_trained(out)[0].seed == 3
    assert train_run(run, dataset, out, overwrite=True)
    assert load_trained(out)[0].seed == 9


def test_a_run_of_an_older_version_without_todays_keys_is_still_this_run(
    tmp_path: Path, data: Path
) -> None:
    """What `engine` has been given since then, the run did without."""
    out = train(tmp_path, data)
    record = json.loads((out / "run.json").read_text())
    assert record["config"]["engine"].pop("vaegan_gradients", ...) is None
    (out / "run.json").write_text(json.dumps(record))
    run, dataset = load_run(made.run_file(tmp_path)), open_dataset(data, "tiny")
    assert RunDirectory(out).holds(run_identity(run, dataset))
    assert train_run(run, dataset, out) is False
    record["config"]["engine"]["latent_noise"] = 0.5
    (out / "run.json").write_text(json.dumps(record))
    assert not RunDirectory(out).holds(run_identity(run, dataset))


def test_other_data_under_the_same_name_are_refused(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    made.dataset(tmp_path / "other", counts=(71, 25))
    with pytest.raises(StudyError, match="holds another run: data"):
        train_run(load_run(made.run_file(tmp_path)), open_dataset(tmp_path / "other", "tiny"), out)


def test_a_new_evaluation_is_no_new_run(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    (out / "metrics.json").write_text('{"splits": {"eval": {}}}')
    file = made.run_file(tmp_path, evaluation={"split": "eval", "elbo_samples": 7})
    assert train_run(load_run(file), open_dataset(data, "tiny"), out) is False
    assert load_trained(out)[0].config.evaluation.elbo_samples == 7
    assert not (out / "metrics.json").exists(), "measured under the old evaluation"


def test_what_an_older_version_measured_by_default_stays(tmp_path: Path, data: Path) -> None:
    """What `evaluation` has been given since then is at its default: nothing is dropped."""
    out = train(tmp_path, data)
    measured = {"metrics.json": '{"splits": {}}', "per_image.npz": "a", "pictures.npz": "b"}
    for name, text in measured.items():
        (out / name).write_text(text)
    record = json.loads((out / "run.json").read_text())
    for key, default in (("latents", None), ("sharpness", False)):
        assert record["config"]["evaluation"].pop(key, ...) == default
    (out / "run.json").write_text(json.dumps(record))
    identity = run_identity(load_run(made.run_file(tmp_path)), open_dataset(data, "tiny"))
    directory = RunDirectory(out)
    directory.take(identity)
    assert {name: (out / name).read_text() for name in measured} == measured
    assert directory.read()["config"] == identity["config"], "the new keys are written"
    identity["config"]["evaluation"]["sharpness"] = True
    directory.take(identity)
    assert not any((out / name).exists() for name in measured)


def test_run_without_a_checkpoint_starts_from_zero_and_ends_the_same(
    tmp_path: Path, data: Path
) -> None:
    whole = train(tmp_path, data, out="a")
    out = train(tmp_path, data, out="b")
    directory = RunDirectory(out)
    directory.final_model.rename(out / ".final_model.partial")
    directory.history.write_text('{"epoch": 1}\n')
    train(tmp_path, data, out="b")
    one, two = weights(whole), weights(out)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert len(read_history(directory.history)) == 2
    assert not list(out.glob(".*"))


def test_foreign_folder_is_not_emptied(tmp_path: Path, data: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(StudyError, match="not empty and no run directory"):
        train(tmp_path, data)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_overwrite_does_not_empty_a_foreign_folder_either(tmp_path: Path, data: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    run, dataset = load_run(made.run_file(tmp_path)), open_dataset(data, "tiny")
    with pytest.raises(StudyError, match="not empty and no run directory"):
        train_run(run, dataset, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").exists()


HOLD = """
import sys, time
from pathlib import Path
from study.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_directory_takes_one_process_at_a_time(tmp_path: Path, data: Path) -> None:
    """Another process holds it, is killed, and it is free again, without a trace."""
    out = train(tmp_path, data)
    words = [sys.executable, "-c", HOLD, str(out)]
    other = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        run, dataset = load_run(made.run_file(tmp_path), seed=9), open_dataset(data, "tiny")
        with pytest.raises(Busy, match="another process is at work there") as error:
            train_run(run, dataset, out, overwrite=True)
        RunDirectory(out).note_failure("train", error.value)
        assert not RunDirectory(out).failure.exists(), "it is the other process's directory"
        assert load_trained(out)[0].seed == 3
    finally:
        other.kill()
        other.wait()
    assert train_run(run, dataset, out, overwrite=True)
    assert load_trained(out)[0].seed == 9
    assert not list(tmp_path.glob(".*"))


def test_asking_whether_it_is_held_stands_in_nobodys_way(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert not is_held(folder) and not list(tmp_path.iterdir())
    with locked(folder):
        assert is_held(folder)
    assert not is_held(folder)
    # What a killed process left; somebody asks just when another wants to begin.
    left = tmp_path / ".out.lock"
    left.write_text(to_text(replace(this_process(), flock=True)))
    asking = os.open(left, os.O_RDONLY)
    assert not is_held(folder)
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.03, os.close, [asking]).start()
    with locked(folder):
        assert is_held(folder)
    assert not left.exists()


def test_only_what_a_run_leaves_is_ever_deleted(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    (out / "notes").mkdir()
    (out / "notes" / "thesis.tex").write_text("years of work")
    run, dataset = load_run(made.run_file(tmp_path), seed=9), open_dataset(data, "tiny")
    with pytest.raises(StudyError, match="notes: not of a run's making"):
        train_run(run, dataset, out, overwrite=True)
    assert (out / "notes" / "thesis.tex").read_text() == "years of work"
    assert RunDirectory(out).trained
