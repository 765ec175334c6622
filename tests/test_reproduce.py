"""`reproduce.py` as a person runs it: once, again, a stage of it, asked for its state."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evaluate.report import remake, write_results
from evaluate.status import changes, state
from reproduce import parser
from study.datasets import open_dataset
from study.errors import StudyError
from study.expansion import Study, load_study
from study.lock import locked
from study.overrides import parse_overrides
from study.provenance import ROOT
from tests.reproducing import RUNS, reproduce, snapshot


def test_everything_is_there(undisturbed, study: Path) -> None:
    work, _ = undisturbed
    results = {path.name for path in (work / "results/made").iterdir()}
    assert results == {
        "README.md",
        "runs.json",
        "table.csv",
        "table.md",
        "table.tex",
        "reconstructions.png",
        "generations.png",
        "loss_curves.png",
    }
    shown = (work / "results/made/README.md").read_text()
    assert "| AE " in shown and "| VAE " in shown and "reproduce.py" in shown
    for folder in (work, study.parent):
        assert str(folder) not in shown, "no path of this machine"
    recorded = (work / "results/made/runs.json").read_text()
    assert platform.node() not in recorded and "slurm" not in recorded
    runs = work / "runs/made"
    directories = [runs / name / f"seed-{seed}" for name in RUNS for seed in (0, 1)]
    for directory in directories:
        assert {"run.json", "history.jsonl", "final_model", "metrics.json", "per_image.npz"} <= {
            path.name for path in directory.iterdir()
        }
    assert not list(work.rglob("*partial*"))


def test_second_time_does_nothing_but_the_tables(undisturbed, study: Path) -> None:
    work, _ = undisturbed
    before = snapshot(work)
    runs = work / "runs"
    times = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    reproduce(study, work)
    assert snapshot(work) == before
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == times


def test_the_page_comes_from_the_record_alone(undisturbed, study: Path, tmp_path: Path) -> None:
    """Without run directories and data: what the study wrote is what its runs.json gives."""
    results = tmp_path / "results"
    shutil.copytree(undisturbed[0] / "results", results)
    before = snapshot(results)
    assert remake([], results, check=True) == {}
    for path in results.rglob("*"):
        if path.suffix in (".md", ".csv", ".tex"):
            path.unlink()
    words = [sys.executable, "-m", "evaluate", "tables", "--results", results]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert snapshot(results) == before


def test_a_picture_that_is_drawn_no_more_goes(undisturbed, study: Path, tmp_path: Path) -> None:
    work, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(work / "results", results)
    (results / "made/mine.png").touch()
    loaded, dataset = load_study(study), open_dataset(work / "data", "shapes")
    config = loaded.config.model_copy(update={"figures": loaded.config.figures[:1]})
    folder = write_results(replace(loaded, config=config), dataset, work / "runs", results, "c d e")
    kept = {loaded.config.figures[0].file, "mine"}
    assert {path.stem for path in folder.glob("*.png")} == kept
    assert "generations.png" not in (folder / "README.md").read_text()


def test_prose_that_refers_to_nothing_loses_no_results(
    undisturbed, study: Path, tmp_path: Path
) -> None:
    work, _ = undisturbed
    results = tmp_path / "results"
    shutil.copytree(work / "results", results)
    (results / "made/LEARNED.md").write_text("An MSE of {vea/MSE}.")
    before = snapshot(results)
    loaded, dataset = load_study(study), open_dataset(work / "data", "shapes")
    with pytest.raises(StudyError, match=r"LEARNED.md:1: '{vea/MSE}': no row 'vea'"):
        write_results(loaded, dataset, work / "runs", results, "c d e")
    assert snapshot(results) == before


def test_status_and_dry_run(undisturbed, study: Path, tmp_path: Path) -> None:
    work, _ = undisturbed
    shown = reproduce(study, work, "--status").stdout
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in shown.splitlines()]
    assert ["vae/seed-1", "1/1", "done", "done"] in rows
    shown = reproduce(study, tmp_path, "--status").stdout
    assert "ae/seed-0" in shown and "done" not in shown
    shown = reproduce(study, tmp_path, "--dry-run", "--set", "model.latent_dim=9").stdout
    assert "--set model.latent_dim: 3 -> 9, in ae, vae" in shown.splitlines()
    assert shown.count("seed-") == 8 and "Nothing." in shown
    assert not list(tmp_path.iterdir())


def test_what_set_changes(study: Path) -> None:
    words = ["networks.encoder=[9]", "model.latent_dim=3", "engine={}", "trainer.no_cuda=false"]
    arguments = parser().parse_args([str(study), *(f"--set={word}" for word in words)])
    changed = changes(load_study(study, None, parse_overrides(arguments.set)), arguments)
    assert changed == {
        "networks.encoder: [8] -> [9]": ["ae", "vae"],
        "trainer.no_cuda: true -> false": ["ae", "vae"],
    }
    section = {"networks": {"name": "convnet28", "width": 2}}
    changed = changes(load_study(study, None, section), arguments)
    assert 'networks.name: "mlp" -> "convnet28"' in changed
    assert "networks.width: nothing -> 2" in changed


def test_status_tells_running_from_stopped(undisturbed, study: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(undisturbed[0] / "runs", work)
    loaded = load_study(study)
    cell = loaded.cells[0]
    run = loaded.run_directory(work, cell)
    arguments = parser().parse_args([str(study), "--runs", str(work)])
    dataset = open_dataset(undisturbed[0] / "data", "shapes")

    def states(of: Study = loaded) -> tuple[str, str]:
        found = state(of, of.cells[0], arguments, dataset)
        return found["train"], found["evaluate"]

    with locked(run.path):
        assert states() == ("done", "done")
        run.metrics.unlink()
        assert states() == ("done", "running")
    assert states() == ("done", "–")
    shutil.rmtree(run.path)
    words = ["--data", undisturbed[0] / "data", "--out", run.path]
    longer = load_study(study, overrides={"trainer.num_epochs": 1_000_000})
    words += ["--set", "trainer.num_epochs=1000000", "--seed", str(cell.seed)]
    process = subprocess.Popen(
        [sys.executable, "-m", "train", study.parent / "ae.json", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not run.record.is_file():
            assert process.poll() is None
            time.sleep(0.05)
        assert states(longer) == ("running", "–")
    finally:
        process.kill()
        process.wait()
    assert states(longer) == ("stopped", "–")
    assert states() == ("another run", "–")


def test_only_one_stage(study: Path, tmp_path: Path) -> None:
    done = reproduce(study, tmp_path, "--only", "tables", status=2)
    assert "shapes: no prepared data set" in done.stderr
    reproduce(study, tmp_path, "--only", "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    done = reproduce(study, tmp_path, "--only", "tables", status=1)
    assert "runs/made: no run of this study is evaluated there" in done.stderr
    done = reproduce(study, tmp_path, "--only", "evaluate", "--budget", "less", status=1)
    assert done.stderr.splitlines()[-1].count("no run directory (run.json is missing)") == 2


def test_tables_take_in_no_run_of_another_config(undisturbed, study: Path, tmp_path: Path) -> None:
    """The runs there are of one epoch: asked for two, there is nothing to make a table of."""
    work = tmp_path / "work"
    shutil.copytree(undisturbed[0], work)
    before = snapshot(work)
    words = ("--set", "trainer.num_epochs=2")
    done = reproduce(study, work, "--only", "tables", *words, status=1)
    assert "no run of this study is evaluated there" in done.stderr
    # Before anything is trained, also the run that is not there yet.
    shutil.rmtree(work / "runs/made/ae/seed-0")
    before = snapshot(work)
    done = reproduce(study, work, *words, status=2)
    assert done.stderr.count("\n") == 1
    assert "holds another run: config.trainer.num_epochs is 1 there, 2 now" in done.stderr
    assert snapshot(work) == before


def test_another_evaluation_is_measured_anew(undisturbed, study: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(undisturbed[0], work)
    words = ("--set", "evaluation.elbo_samples=5")
    reproduce(study, work, "--only", "evaluate", *words)
    done = reproduce(study, work, "--only", "tables", *words)
    assert "ELBO (Bernoulli, 5 draws)" in done.stdout
    assert "ELBO (Bernoulli)" not in done.stdout


def test_pictures_are_of_the_studys_split(undisturbed, study: Path, tmp_path: Path) -> None:
    """Evaluating by hand on another split changes no figure of the study."""
    import numpy as np

    from study.npz import merge_arrays

    work = tmp_path / "work"
    shutil.copytree(undisturbed[0], work)
    before = (work / "results/made/reconstructions.png").read_bytes()
    file = work / "runs/made/ae/seed-0/pictures.npz"
    merge_arrays(file, "test", {"originals": np.zeros((4, 1, 28, 28), np.uint8)})
    reproduce(study, work, "--only", "tables")
    assert (work / "results/made/reconstructions.png").read_bytes() == before


def test_budget_has_folders_of_its_own(study: Path, tmp_path: Path) -> None:
    reproduce(study, tmp_path, "--budget", "less")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["made-less"]
    shown = (tmp_path / "results/made-less/README.md").read_text()
    assert "--budget less" in shown and "Budget: less. Less." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.json"], "nothing.json: No such file or directory"),
        (["{study}", "--budget", "les"], "no budget 'les' (did you mean 'less'?); it has: less"),
        (["{study}", "--set", "model.bta=3"], "model.bta: unknown key"),
        (["{study}", "--set", "dataset=mnist"], "the study prepares 'shapes'"),
        (["{study}", "--only", "trian"], "argument --only: invalid choice: 'trian'"),
        (["{study}", "--data", "{study}/x"], "made.json/x"),
    ],
)
def test_bad_command_lines(arguments, message, study: Path, tmp_path: Path) -> None:
    words = [word.format(study=study) for word in arguments]
    done = subprocess.run(
        [sys.executable, str(ROOT / "reproduce.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("reproduce: ")
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_the_packages_one_line_says_how_to_get_them(tmp_path: Path) -> None:
    """`-S` hides site-packages: the interpreter of somebody who forgot the environment."""
    for words in (["reproduce.py", "x.json"], ["-m", "train", "x.json"], ["-m", "evaluate", "x"]):
        done = subprocess.run(
            [sys.executable, "-S", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": ""},
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and "make setup" in done.stderr


@pytest.mark.skipif(
    "VAE_STUDY_DATA" not in os.environ,
    reason="VAE_STUDY_DATA is not set: no real CelebA, no real MNIST",
)
@pytest.mark.parametrize(
    ("name", "folder", "raw_images"), [("celeba64", "celeba", 96), ("mnist", "mnist", 0)]
)
def test_real_data_through_every_stage(name, folder, raw_images, tmp_path: Path) -> None:
    """The committed studies on real images, one epoch of tiny networks."""
    study = json.loads((ROOT / f"configs/studies/{name}.json").read_text())
    for run in study["runs"]:
        run["config"] = str((ROOT / "configs/studies" / run["config"]).resolve())
    small = study["budgets"]["small"]
    small["set"] = {
        "networks.width": 1,
        "trainer.num_epochs": 1,
        "trainer.per_device_train_batch_size": 1024 if name == "mnist" else 32,
        "model.latent_dim": 2,
        "evaluation.images": 200,
        "evaluation.samples": 80,
        "evaluation.nll_samples": 2,
    }
    small["seeds"] = [0]
    if not raw_images:
        # Of 50,000 images a MAF and a PixelCNN take minutes; of CelebA's few they are fitted here.
        for run in study["runs"]:
            run.get("set", {}).pop("evaluation.samplers", None)
    if raw_images:
        # MNIST's classifier stands for this one, which takes a minute.
        small["set"]["evaluation.features"] = []
        small["data"]["options"] |= {"limit_train": raw_images, "limit_eval": 32}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(study))
    raw = Path(os.environ["VAE_STUDY_DATA"]) / folder
    work = tmp_path / "work"
    reproduce(path, work, "--budget", "small", "--raw", str(raw))
    shown = (work / f"results/{name}-small/README.md").read_text()
    assert "RAW_FOLDER" in shown and str(raw) not in shown
    assert ("Not the whole data set" in shown) == bool(raw_images)
