"""`python -m evaluate diff`: trained and measured runs held against each other."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.__main__ import main
from evaluate.diff import diff
from evaluate.run import evaluate_run
from study.errors import run_command
from study.files import write_arrays, write_json
from tests import made
from tests.training import train


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory) -> Path:
    """Two VAEs that differ in seed and epochs, an AE, and the first VAE not measured."""
    work = tmp_path_factory.mktemp("runs")
    vae = made.MODELS["VAE"]
    train(work, data, "VAE", "vae")
    train(work, data, "VAE", "other", trainer=made.trainer(vae, seed=4, num_epochs=1))
    train(work, data, "AE", "ae")
    for name in ("vae", "other", "ae"):
        evaluate_run(work / name, data)
    shutil.copytree(work / "vae", work / "raw")
    for file in ("metrics.json", "per_image.npz"):
        (work / "raw" / file).unlink()
    return work


def lines(text: str, heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of the table under a heading."""
    table = text.split(f"## {heading}\n\n")[1].split("\n\n")[0]
    head, _, *rest = table.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *rest)]
    return {row[0]: row[1:] for row in rows}


def metric(run: Path, key: str) -> float:
    return json.loads((run / "metrics.json").read_text())["splits"]["eval"]["metrics"][key]["mean"]


def test_config_and_metrics(runs: Path) -> None:
    text = diff(runs / "vae", runs / "other")
    assert text.startswith(f"A: {runs}/vae\nB: {runs}/other\n")
    assert lines(text, "Config") == {
        "key": ["A", "B"],
        "trainer.num_epochs": ["2", "1"],
        "trainer.seed": ["3", "4"],
    }
    found = lines(text, "Reconstruction, eval split")
    assert found["metric"] == ["A", "B", "B - A", "95 % interval"]
    assert {"MSE", "SSIM", "KL", "ELBO (Gaussian, σ = 1)"} <= found.keys()
    a, b, difference, _ = found["MSE"]
    assert float(a) == pytest.approx(metric(runs / "vae", "MSE"), rel=1e-3)
    assert float(b) == pytest.approx(metric(runs / "other", "MSE"), rel=1e-3)
    want = metric(runs / "other", "MSE") - metric(runs / "vae", "MSE")
    assert float(difference.replace("−", "-")) == pytest.approx(want, rel=1e-3)
    assert "MSE" in lines(text, "Samples, z ~ N(0, I), eval split")
    assert "## Data" not in text and "## Versions" not in text and "## State" not in text


def test_interval_is_that_of_the_paired_difference(runs: Path) -> None:
    """Against scipy's bootstrap; unpaired it would be wider."""
    from scipy.stats import bootstrap

    with np.load(runs / "vae/per_image.npz") as one, np.load(runs / "other/per_image.npz") as two:
        values = two["eval.MSE"] - one["eval.MSE"]
    want = bootstrap((values,), np.mean, method="percentile", random_state=1).confidence_interval
    shown = lines(diff(runs / "vae", runs / "other"), "Reconstruction, eval split")["MSE"][3]
    low, high = (float(end.replace("−", "-")) for end in shown.split(" to "))
    width = want.high - want.low
    assert low == pytest.approx(want.low, abs=0.05 * width)
    assert high == pytest.approx(want.high, abs=0.05 * width)


def test_what_only_one_has_is_a_dash(runs: Path) -> None:
    found = lines(diff(runs / "ae", runs / "vae"), "Reconstruction, eval split")
    a, b, difference, interval = found["KL"]
    assert a == difference == interval == "–" and float(b) > 0
    assert lines(diff(runs / "ae", runs / "vae"), "Config")["model.name"] == [
        "AEConfig",
        "VAEConfig",
    ]


def test_the_same_run_twice_is_one_line(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", tmp_path / "copy")
    record = json.loads((tmp_path / "copy/run.json").read_text())
    write_json(tmp_path / "copy/run.json", record | {"started": "1999-12-31T00:00:00+00:00"})
    text = diff(runs / "vae", tmp_path / "copy")
    assert text.count("\n") == 1 and "do not differ" in text and text.endswith("and metrics\n")
    text = diff(runs / "raw", runs / "raw")
    assert text.count("\n") == 1 and "neither is measured" in text


def test_unmeasured_and_unfinished(runs: Path, tmp_path: Path) -> None:
    text = diff(runs / "vae", runs / "raw")
    assert lines(text, "State")["splits measured"] == ["eval", "none"]
    assert "## Reconstruction" not in text and "## Config" not in text
    (tmp_path / "begun").mkdir()
    shutil.copy(runs / "vae/run.json", tmp_path / "begun")
    assert lines(diff(runs / "raw", tmp_path / "begun"), "State")["training"] == [
        "finished",
        "not finished",
    ]
    shutil.copytree(runs / "vae", tmp_path / "old")
    found = json.loads((tmp_path / "old/metrics.json").read_text())
    write_json(tmp_path / "old/metrics.json", found | {"format": 1})
    told = lines(diff(runs / "vae", tmp_path / "old"), "State")["splits measured"]
    assert told == ["eval", "none (metrics.json is of another version)"]


def test_data_versions_and_code(runs: Path, tmp_path: Path) -> None:
    """And numbers of other images, of which no paired interval can be."""
    copy = tmp_path / "copy"
    shutil.copytree(runs / "vae", copy)
    record = json.loads((copy / "run.json").read_text())
    record["data"]["sha256"]["eval"] = "f" * 64
    record["data"]["images"]["eval"] = 24
    record["versions"]["torch"] = "2.6.0"
    record["code"]["commit"] = "0" * 40
    write_json(copy / "run.json", record)
    measured = json.loads((copy / "metrics.json").read_text())
    entry = measured["splits"]["eval"]
    entry["data_sha256"] = "f" * 64
    entry["metrics"]["MSE"]["mean"] += 1
    entry["missing"] = {"LPIPS": "vgg16.pth was not found"}
    write_json(copy / "metrics.json", measured)
    text = diff(runs / "vae", copy)
    data = lines(text, "Data")
    assert data["images.eval"] == ["25", "24"] and data["sha256.eval"][1] == "ffffffffffff…"
    assert lines(text, "Versions")["torch"][1] == "2.6.0"
    assert lines(text, "Code")["commit"][1] == "0" * 40
    assert lines(text, "How the eval split was measured")["data_sha256"][1] == "ffffffffffff…"
    found = lines(text, "Reconstruction, eval split")
    assert found["metric"] == ["A", "B", "B - A"] and found["MSE"][2] == "1.000"
    assert found["SSIM"][2] == "0"
    assert "LPIPS is missing in B: vgg16.pth was not found." in text
    assert "The same in both: Samples, z ~ N(0, I), eval split." in text


def test_numbers_of_two_definitions_are_not_subtracted(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs / "vae", copy)
    measured = json.loads((copy / "metrics.json").read_text())
    measured["splits"]["eval"]["metrics"]["ELBO"]["title"] = "ELBO (Bernoulli)"
    write_json(copy / "metrics.json", measured)
    found = lines(diff(runs / "vae", copy), "Reconstruction, eval split")
    assert found["ELBO (Gaussian, σ = 1) / ELBO (Bernoulli)"][2:] == ["–", "–"]


def test_per_image_values_that_are_gone_or_of_other_length(runs: Path, tmp_path: Path) -> None:
    for name in ("gone", "short"):
        shutil.copytree(runs / "other", tmp_path / name)
    (tmp_path / "gone/per_image.npz").unlink()
    write_arrays(tmp_path / "short/per_image.npz", {"eval.MSE": np.zeros(3)})
    for name in ("gone", "short"):
        found = lines(diff(runs / "vae", tmp_path / name), "Reconstruction, eval split")
        assert found["MSE"][3] == "–"


def test_command(runs: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evaluate", "diff", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run_command("evaluate", main)
        return ended.value.code, *capsys.readouterr()

    # That they differ is no failure.
    assert run(runs / "vae", runs / "other") == (0, diff(runs / "vae", runs / "other"), "")
    told = f"evaluate: {tmp_path}: no run directory (run.json is missing)\n"
    assert run(runs / "vae", tmp_path) == (2, "", told)
    (tmp_path / "run.json").write_text("{")
    status, out, told = run(tmp_path, runs / "vae")
    assert (status, out, told.count("\n")) == (2, "", 1) and "not JSON" in told
