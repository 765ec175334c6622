"""wandb as a mirror: real runs read back, and what a config says of tracking."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.mirror import mirror_tables
from evaluate.run import evaluate_run
from study import tracking
from study.datasets import open_dataset
from study.errors import Stopped, StudyError
from study.expansion import load_study
from study.provenance import ROOT
from study.runs import load_run
from study.schema_files import Tracking
from study.tracking import Tracker, mode_of
from tests.tracked import (
    GONE_WRONG,
    OFFLINE,
    inspect,
    job,
    logged,
    mirrored,
    of,
    write_study,
)
from tests.training import train, weights
from train.history import read_history
from train.run import train_run

pytestmark = pytest.mark.usefixtures("fresh_tracker")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, data: Path) -> Path:
    """A run that was trained and evaluated under tracking."""
    how = OFFLINE | {
        "project": "vqvae-celeba",
        "evaluation_project": "vqvae-evaluation",
        "group": "a study",
        "tags": ["small", "β"],
        "notes": "to be read back",
    }
    out = train(tmp_path_factory.mktemp("tracked"), data, tracking=how, out="vae/seed-3")
    evaluate_run(out, data)
    return out


def test_training_is_mirrored_epoch_by_epoch(tracked: Path) -> None:
    records = inspect(logged(tracked)[0])
    (run,) = of(records, "run")
    assert run["project"] == "vqvae-celeba" and run["run_group"] == "a study"
    assert run["job_type"] == "train" and run["display_name"] == "vae/seed-3"
    assert run["tags"] == ["small", "β"] and run["notes"] == "to be read back"
    recorded = json.loads((tracked / "run.json").read_text())
    config = run["config"]["update"]
    assert config["model"] == recorded["config"]["model"]
    assert config["trainer"] == recorded["config"]["trainer"]
    assert config["run"]["data"] == recorded["data"]
    assert {"glob_name": "*", "step_metric": "epoch"}.items() <= of(records, "metric")[1].items()
    history = read_history(tracked / "history.jsonl")
    assert len(history) == 2 and history[0]["learning_rate"] == 1e-3
    for line, epoch in zip(history, mirrored(records), strict=True):
        for split in ("train", "eval"):
            terms = line.pop(split)
            assert len(terms) == 3
            line |= {f"{split}/{name}": value for name, value in terms.items()}
        assert epoch == pytest.approx(line, rel=1e-12)
    assert of(records, "exit") and not of(records, "exit")[0].get("exit_code")


def test_evaluation_is_a_run_beside_it(tracked: Path, data: Path) -> None:
    run = logged(tracked)[1]
    records = inspect(run)
    about = of(records, "run")[0]
    assert about["job_type"] == "evaluate" and about["project"] == "vqvae-evaluation"
    assert about["run_group"] == "a study" and about["display_name"] == "vae/seed-3"
    entry = json.loads((tracked / "metrics.json").read_text())["splits"]["eval"]
    measured = {
        "reconstruction": entry["metrics"],
        "generation (prior)": entry["generations"]["prior"]["metrics"],
    }
    wanted = [
        ["eval", what, metric["title"], metric["mean"], metric["sd"]]
        for what, metrics in measured.items()
        for metric in metrics.values()
    ]
    scalars = {key: value for item in mirrored(records) for key, value in item.items()}
    for split, what, title, mean, _ in wanted:
        assert scalars[f"{split}/{what}/{title}"] == mean
    (table,) = run.glob("files/media/table/metrics/*.json")
    table = json.loads(table.read_text())
    assert table["columns"][:5] == ["split", "of", "metric", "mean", "sd"]
    assert [row[:5] for row in table["data"]] == wanted
    pictures = {path.read_bytes() for path in run.glob("files/media/images/*.png")}
    names = ("reconstructions.png", "generations.png", "neighbours.png")
    assert pictures == {(tracked / name).read_bytes() for name in names}
    # Another split: the same run in wandb, all of it, and another one than that of training.
    evaluate_run(tracked, data, "train")
    first, again = logged(tracked)[1:]
    both = {key.split("/")[0] for item in mirrored(inspect(again)) for key in item} - {"metrics"}
    assert {"eval", "train"} <= both
    assert len(list(again.glob("files/media/table/metrics/*.json"))) == 2
    assert first.name.split("-")[-1] == again.name.split("-")[-1]
    assert logged(tracked)[0].name.split("-")[-1] != again.name.split("-")[-1]


def test_weights_and_generators_are_those_of_an_untracked_run(
    tracked: Path, tmp_path, data
) -> None:
    plain = train(tmp_path, data)
    one, two = weights(plain), weights(tracked)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not (plain / "wandb").exists()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with Tracker(job(tmp_path)) as tracker:
        tracker.log_values({"x": 1.0})
    assert logged(tmp_path)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert states == after


def test_where_it_is_to_be_uploaded_is_said_for_the_newest_alone(tmp_path: Path, capsys) -> None:
    """A folder that is named when a run is stopped is the wrong one when it has gone on."""
    single, tables = job(tmp_path / "out"), dataclasses.replace(job(tmp_path), stage="tables")
    with pytest.raises(Stopped), Tracker(single):
        raise Stopped(signal.SIGTERM)
    about = single.tracking.model_copy(update={"group": "a study"})
    cell = dataclasses.replace(single, tracking=about, folder=tmp_path / "vae" / "seed-0")
    for one in (cell, tables):
        with Tracker(one):
            pass
    first, *others = capsys.readouterr().err.splitlines()
    (folder,) = logged(tmp_path / "out")
    assert first == f"wandb: train name: tracked up to here in {folder}"
    assert others == [
        f"wandb: {stage} name: tracked; 'python -m slurm --sync STUDY' uploads it"
        for stage in ("train", "tables")
    ]


def test_tracking_is_no_part_of_what_a_run_is(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    before = (out / "final_model").stat().st_mtime_ns
    run = load_run(tmp_path / "run.json", {"tracking.mode": "offline", "tracking.group": "g"})
    assert train_run(run, open_dataset(data, "tiny"), out) is False
    assert (out / "final_model").stat().st_mtime_ns == before
    recorded = json.loads((out / "run.json").read_text())["config"]["tracking"]
    assert recorded["mode"] == "offline" and recorded["group"] == "g"
    # What wandb left is a run's own, so a run that starts anew clears it away.
    (out / "wandb").mkdir()
    assert train_run(load_run(tmp_path / "run.json"), open_dataset(data, "tiny"), out) is False
    again = load_run(tmp_path / "run.json", seed=9)
    assert train_run(again, open_dataset(data, "tiny"), out, overwrite=True)
    assert not (out / "wandb").exists()


OFF = """
import sys
from pathlib import Path
from tests.training import train
train(Path(sys.argv[1]), Path(sys.argv[2]))
print([name for name in sys.modules if name.split(".")[0] == "wandb"])
"""


def test_off_imports_and_starts_nothing(tmp_path: Path, data: Path, monkeypatch) -> None:
    words = [sys.executable, "-c", OFF, str(tmp_path), str(data)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and GONE_WRONG not in done.stderr
    assert not (tmp_path / "out" / "wandb").exists()
    monkeypatch.setattr(tracking.subprocess, "Popen", None)
    with Tracker(job(tmp_path, "off")) as tracker:
        tracker.log_epoch({"epoch": 1, "train": {"loss": 1.0}})


@pytest.mark.parametrize(
    ("config", "environment", "mode"),
    [
        ("off", None, "off"),
        ("off", "", "off"),
        ("offline", None, "offline"),
        ("off", "offline", "offline"),
        ("online", "offline", "offline"),
        ("online", "disabled", "off"),
        ("off", "online", "online"),
        ("offline", "offlien", "off"),
    ],
)
def test_wandb_mode_overrules_the_config(config, environment, mode, monkeypatch, capsys) -> None:
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert mode_of(Tracking(mode=config)) == mode
    said = capsys.readouterr().err
    assert ("WANDB_MODE=offlien is not one of online" in said) == (environment == "offlien")


def test_set_goes_over_study_goes_over_run_file(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    ae, vae = (cell.run.config.tracking for cell in load_study(file, "small").cells)
    assert (ae.mode, ae.project, ae.entity) == ("off", "of-the-file", "us")
    assert (vae.project, vae.group, vae.name) == ("made", "made-small", "made-small/vae/seed-0")
    file = write_study(tmp_path, tracking={"project": "of-the-study", "mode": "online"})
    study = load_study(file, None, {"tracking.mode": "offline"})
    ae, vae = (cell.run.config.tracking for cell in study.cells)
    assert (ae.mode, ae.project, ae.entity) == ("offline", "of-the-study", "us")
    assert ae.group == "made" and study.tracking.name == "made/tables"
    assert (study.tracking.mode, study.tracking.project) == ("offline", "of-the-study")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"mode": "on"}, "tracking.mode: Input should be 'off', 'offline' or 'online', not 'on'"),
        ({"projekt": "x"}, r"tracking.projekt: unknown key \(did you mean 'project'\?\)"),
        ({"project": "a/b"}, "tracking.project: .*pattern"),
        ({"name": "one for all"}, "tracking.name: a study sets tracking.name by its 'runs'"),
    ],
)
def test_bad_tracking_is_refused(section: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write_study(tmp_path, tracking=section))


def test_tables_of_a_study_are_mirrored(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, tracking=OFFLINE | {"project": "p"}))
    results, runs = tmp_path / "results", tmp_path / "runs"
    results.mkdir()
    (results / "table.csv").write_text("model,seeds,KL\nAE,1,\nVAE,1,2.5\n")
    about = dict.fromkeys(("study", "title", "source", "budget", "cost", "split"), "x")
    mirror_tables(study, about | {"rows": []}, results, runs)
    (run,) = logged(runs / "made")
    (about,) = of(inspect(run), "run")
    assert (about["job_type"], about["run_group"], about["project"]) == ("tables", "made", "p")
    assert about["display_name"] == "made/tables"
    (table,) = run.glob("files/media/table/tables/*.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["model", "seeds", "KL"]
    assert table["data"] == [["AE", 1, None], ["VAE", 1, 2.5]]
