"""Numbers of a run's own history: by hand, and against what really went through training."""

import json
from pathlib import Path

import pytest

from evaluate.formats import to_csv
from evaluate.record import deflate, gather, read_record
from evaluate.run import evaluate_run
from evaluate.tables import build_table
from evaluate.training_terms import TRAINING_KEYS, training_metrics, training_numbers
from study.datasets import open_dataset
from study.expansion import load_study
from study.files import write_json
from study.rundir import RunDirectory
from tests import made
from tests.training import train
from train.history import EpochTerms, read_history
from train.run import train_run

BEST = {"epoch": 2, "split": "eval"}


def config(name: str, reduction: str | None = None, **model: object) -> dict:
    about = {"name": name, "input_dim": [3, 4, 5]} | model
    return {"model": about, "engine": {"reduction": reduction}}


def history(train: list[dict], held_out: list[dict]) -> list[dict]:
    pairs = enumerate(zip(train, held_out, strict=True), 1)
    return [{"epoch": n, "train": one, "eval": other} for n, (one, other) in pairs]


VAE = history(
    [{"recon_loss": r, "reg_loss": k} for r, k in ((60.0, 2.0), (45.0, 3.0), (30.0, 5.0))],
    [{"recon_loss": r, "reg_loss": k} for r, k in ((50.0, 2.5), (30.0, 4.0), (40.0, 6.0))],
)


@pytest.mark.parametrize(
    ("run", "lines", "want"),
    [
        # 60 values an image.
        (config("AEConfig"), history([{"loss": 12.0}, {"loss": 6.0}], [{"loss": 1.0}] * 2), [0.1]),
        (
            config("WAE_MMD_Config", reconstruction_loss_scale=2.0),
            history([{"loss": 99.0, "recon_loss": 24.0}] * 2, [{"loss": 1.0}] * 2),
            [24 / 2 / 60],
        ),
        # Half of the squared error; KL falls from 2 to 5; of the second epoch 4 of 34 is KL.
        (config("VAEConfig", reconstruction_loss="mse"), VAE, [1.0, 0.5, 2.5, 4 / 34]),
        (config("VAEConfig", reconstruction_loss="bce"), VAE, [None, 0.5, 2.5, 4 / 34]),
        (
            config("BetaVAEConfig", reconstruction_loss="mse", beta=3.0),
            VAE,
            [1.0, 0.5, 2.5, 12 / 42],
        ),
        (
            config("BetaVAEConfig", "mean", reconstruction_loss="mse", beta=3.0),
            VAE,
            [60.0, 0.5, 2.5, 12 / 42],
        ),
        # One epoch is its first and last: nothing fell, and its mean is of untrained weights, too.
        (config("AEConfig"), history([{"loss": 12.0}], [{"loss": 1.0}]), []),
        (config("VAEConfig", reconstruction_loss="mse"), VAE[1:2], [None, None, None, 4 / 34]),
        # Nor is 0 a number to fall from.
        (config("VAEConfig", reconstruction_loss="bce"), VAE[1:2], [None, None, None, 4 / 34]),
        (
            config("VAEConfig", reconstruction_loss="bce"),
            [VAE[0] | {"train": {"recon_loss": 60.0, "reg_loss": 0.0}}, VAE[1]],
            [None, 0.75, None, 4 / 34],
        ),
        (config("VAEGANConfig"), VAE, []),
        (config("VAEConfig", reconstruction_loss="mse"), [], []),
    ],
)
def test_numbers_by_hand(run: dict, lines: list[dict], want: list[float | None]) -> None:
    named = zip(TRAINING_KEYS, want, strict=False)
    expected = {key: number for key, number in named if number is not None}
    assert training_numbers(run, lines, BEST) == pytest.approx(expected)


def test_a_run_that_was_chosen_on_its_training_loss_has_the_share_of_that() -> None:
    run = config("VAEConfig", reconstruction_loss="bce")
    assert training_numbers(run, VAE, BEST | {"split": "train"})["KL share"] == 3 / 48


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("AE", {}),
        ("WAE_MMD", {"engine": {"latent_noise": 0.1, "mmd_sigmas": [1.0]}}),
        ("VAE", {}),
        ("VAE", {"model": made.MODELS["VAE"] | {"reconstruction_loss": "mse"}}),
        ("BetaVAE", {"engine": {"reduction": "mean"}}),
    ],
)
def test_they_are_of_what_went_through_training(
    kind: str, sections: dict, tmp_path: Path, data: Path, monkeypatch
) -> None:
    """The images and the reconstructions of every batch, looked at on their way."""
    seen: list[tuple[int, float]] = []
    add = EpochTerms.add

    def look(self: EpochTerms, inputs: dict, output: dict) -> None:
        if output["recon_x"].requires_grad:  # of training, not of the eval split
            error = (inputs["data"] - output["recon_x"].reshape(inputs["data"].shape)).square()
            seen.append((len(error), float(error.detach().double().mean())))
        add(self, inputs, output)

    monkeypatch.setattr(EpochTerms, "add", look)
    out = RunDirectory(train(tmp_path, data, kind, **sections))
    found = training_metrics(out)
    last = seen[len(seen) // 2 :]  # of two epochs
    assert sum(size for size, _ in last) == 70
    bce = out.read()["config"]["model"].get("reconstruction_loss") == "bce"
    if bce:
        assert "training MSE" not in found
    else:
        want = sum(size * error for size, error in last) / 70
        assert found["training MSE"]["mean"] == pytest.approx(want, rel=1e-5)
    if "VAE" not in kind:
        assert set(found) == {"training MSE"}
        return
    first, second = read_history(out.history)
    fall = second["train"]["recon_loss"] / first["train"]["recon_loss"]
    assert found["reconstruction fall"]["mean"] == fall
    best = json.loads(out.finished.read_text())["best"]
    terms = (first, second)[best["epoch"] - 1]["eval"]
    # The loss is what the two add up to.
    want = 1 - terms["recon_loss"] / terms["loss"]
    assert found["KL share"]["mean"] == pytest.approx(want, abs=1e-5)


def test_a_record_and_its_tables_have_them_beside_what_was_measured(
    tmp_path: Path, data: Path
) -> None:
    for name in ("AE", "VAE"):
        made.run_file(tmp_path, name, name.lower())
    tables = [{"name": "t", "title": "T", "metrics": ["MSE", "training MSE", "KL share"]}]
    about = {"data": {"dataset": "shapes", "name": "tiny"}, "tables": tables, "seeds": [3]}
    study_file = tmp_path / "made.json"
    runs = {"ae": "ae.json", "vae": "vae.json"}
    study_file.write_text(json.dumps(made.study_config(runs, **about)))
    study, dataset = load_study(study_file), open_dataset(data, "tiny")
    for cell in study.cells:
        out = study.run_directory(tmp_path / "runs", cell).path
        train_run(cell.run, dataset, out)
        evaluate_run(out, data)
    record = gather(study, dataset, tmp_path / "runs", "")
    write_json(tmp_path / "runs.json", deflate(record))
    ae, vae = (row["cells"][0] for row in read_record(tmp_path / "runs.json")["rows"])
    entry = ae["metrics"]["training MSE"]
    assert (entry["over"], entry["sd"], entry["interval"]) == ("training", None, None)
    assert entry.keys() == ae["metrics"]["MSE"].keys()
    # Weights on their way do worse than where they arrive, and not by much.
    assert 0.5 < ae["metrics"]["MSE"]["mean"] / entry["mean"] < 1.5
    assert "training MSE" not in vae["metrics"] and 0 < vae["metrics"]["KL share"]["mean"] < 1
    (table,) = study.config.tables
    shown = to_csv(build_table(record, table.model_dump())).splitlines()
    assert "training MSE" in shown[0] and len(shown) > 2
