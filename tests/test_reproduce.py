"""`reproduce.py` as a person runs it: stopped, started again, failing, asked for its state."""

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.provenance import ROOT
from study.rundir import RunDirectory
from tests import made
from train.run import load_trained

RUNS = {"ae": "AE", "vae": "VAE"}


def write_study(folder: Path, **changes) -> Path:
    """A study on the real `shapes`, cut down by tiny networks and one epoch."""
    trainer = {
        "name": "BaseTrainerConfig",
        "num_epochs": 1,
        "per_device_train_batch_size": 512,
        "per_device_eval_batch_size": 512,
        "learning_rate": 1e-3,
        "no_cuda": True,
    }
    how = {"split": "eval", "pictures": 4, "likelihood": {"name": "bernoulli"}}
    networks = {"name": "mlp", "encoder": [8], "decoder": [8]}
    for name, kind in RUNS.items():
        made.run_file(
            folder,
            kind,
            name,
            dataset="shapes",
            networks=networks,
            trainer=trainer,
            evaluation=how,
        )
    study = {
        "name": "made",
        "title": "Made",
        "source": "a test",
        "cost": "Nothing.",
        "data": {"dataset": "shapes"},
        "split": "eval",
        "runs": [{"name": n, "config": f"{n}.json", "label": n.upper()} for n in RUNS],
        "seeds": [0, 1],
        "tables": [{"name": "table", "title": "Table", "metrics": ["MSE", "KL", "ELBO", "SSIM"]}],
        "budgets": {"less": {"cost": "Less.", "seeds": [7]}},
    } | changes
    path = folder / "made.json"
    path.write_text(json.dumps(study))
    return path


def folders(work: Path) -> list[str]:
    return [
        word for name in ("data", "runs", "results") for word in (f"--{name}", str(work / name))
    ]


def command(study: Path, work: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "reproduce.py"), str(study), *folders(work), *more]


def reproduce(study: Path, work: Path, *more: str, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(command(study, work, *more), capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def snapshot(work: Path) -> dict[str, object]:
    """Every file's content, without times, host and whatever names the folder it lies in."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        if path.is_file():
            content = path.read_bytes().replace(str(work).encode(), b"WORK")
            key = path.relative_to(work).as_posix()
            found[key] = comparable(path, content)
    return found


def comparable(path: Path, content: bytes) -> object:
    if path.name in ("run.json", "finished.json", "runs.json"):
        return without(json.loads(content), {"started", "finished", "seconds", "training_seconds"})
    if path.name == "history.jsonl":
        return [without(json.loads(line), {"seconds"}) for line in content.splitlines()]
    if path.suffix == ".npz" and path.name in ("per_image.npz", "pictures.npz"):
        import numpy as np

        with np.load(path) as arrays:
            return {key: arrays[key].tobytes() for key in arrays}
    if path.name == "model.pt":
        _, model = load_trained(path.parent.parent)
        return {key: value.numpy().tobytes() for key, value in model.state_dict().items()}
    if path.suffix == ".pkl":  # the same weights again, with addresses of this process
        return "pickle"
    if path.name == "README.md":
        return [line for line in content.decode().splitlines() if "training took" not in line]
    return content


def without(value, keys: set[str]):
    if isinstance(value, dict):
        return {k: without(v, keys) for k, v in value.items() if k not in keys}
    return [without(v, keys) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def undisturbed(study: Path, tmp_path_factory) -> tuple[Path, float]:
    """The folder of a study that nobody disturbed, and the seconds it took."""
    work = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    reproduce(study, work)
    return work, time.monotonic() - started


def test_everything_is_there(undisturbed, study: Path) -> None:
    work, _ = undisturbed
    results = {path.name for path in (work / "results/made").iterdir()}
    assert results == {
        "README.md",
        "runs.json",
        "table.csv",
        "table.md",
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


def test_status_and_dry_run(undisturbed, study: Path, tmp_path: Path) -> None:
    work, _ = undisturbed
    shown = reproduce(study, work, "--status").stdout
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in shown.splitlines()]
    assert ["vae/seed-1", "done", "done"] in rows
    shown = reproduce(study, tmp_path, "--status").stdout
    assert "ae/seed-0" in shown and "done" not in shown
    shown = reproduce(study, tmp_path, "--dry-run").stdout
    assert shown.count("seed-") == 8 and "Nothing." in shown
    assert not list(tmp_path.iterdir())


def test_only_one_stage(study: Path, tmp_path: Path) -> None:
    done = reproduce(study, tmp_path, "--only", "tables", status=2)
    assert "shapes: no prepared data set" in done.stderr
    reproduce(study, tmp_path, "--only", "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    done = reproduce(study, tmp_path, "--only", "tables", status=1)
    assert "runs/made: no run of this study is evaluated there" in done.stderr
    done = reproduce(study, tmp_path, "--only", "evaluate", "--budget", "less", status=1)
    assert done.stderr.splitlines()[-1].count("no run directory (run.json is missing)") == 2


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
    assert "loss became" in last and "Traceback" not in done.stderr
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

    from evaluate.run import merge_arrays

    work = tmp_path / "work"
    shutil.copytree(undisturbed[0], work)
    before = (work / "results/made/reconstructions.png").read_bytes()
    file = work / "runs/made/ae/seed-0/pictures.npz"
    merge_arrays(file, "test", {"originals": np.zeros((4, 1, 28, 28), np.uint8)})
    reproduce(study, work, "--only", "tables")
    assert (work / "results/made/reconstructions.png").read_bytes() == before


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
    }
    if raw_images:
        small["data"]["options"] |= {"limit_train": raw_images, "limit_eval": 32}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(study))
    raw = Path(os.environ["VAE_STUDY_DATA"]) / folder
    work = tmp_path / "work"
    reproduce(path, work, "--budget", "small", "--raw", str(raw))
    shown = (work / f"results/{name}-small/README.md").read_text()
    assert "RAW_FOLDER" in shown and str(raw) not in shown
    assert ("Not the whole data set" in shown) == bool(raw_images)
