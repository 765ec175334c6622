"""A study's record: gathered from real runs, written, read again; and what is wrong with a file."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.formats import to_csv, to_markdown
from evaluate.latex import to_latex
from evaluate.record import FORMAT, check_record, deflate, gather, read_record
from evaluate.run import evaluate_run
from evaluate.statistics import bootstrap_interval
from evaluate.tables import build_table
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.expansion import Study, load_study
from study.files import write_json
from study.jsonfile import read_json_object
from study.schema_files import Budget
from tests import made
from train.run import train_run

TABLES = [
    {"name": "table", "title": "Table", "metrics": ["MSE", "KL", "SSIM"]},
    {
        "name": "samples",
        "title": "Samples",
        "of": "generation",
        "metrics": ["MSE", "diversity", "sharpness"],
    },
]


@pytest.fixture(scope="module")
def study(tmp_path_factory, data: Path) -> Study:
    """A VAE twice (the same bits) and a VQ-VAE, two seeds each."""
    folder = tmp_path_factory.mktemp("study")
    models = {"vae": "VAE", "again": "VAE", "vq": "VQVAE"}
    for name, kind in models.items():
        trainer = made.trainer(made.MODELS[kind], num_epochs=1)
        made.run_file(folder, kind, name, trainer=trainer)
    config = made.study_config(
        {name: f"{name}.json" for name in models},
        data={"dataset": "shapes", "name": "tiny"},
        tables=TABLES,
    )
    # The same twice is refused by a study; what is kept of a run changes none of its numbers.
    config["runs"][1]["set"] = {"engine.keep": "best"}
    (folder / "made.json").write_text(json.dumps(config))
    return load_study(folder / "made.json")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data: Path, study: Study) -> Path:
    """Its runs, trained and measured; vq/seed-1 is missing, and PCA stands among the references."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = open_dataset(data, "tiny")
    for cell in study.cells:
        if cell.title != "vq/seed-1":
            out = study.run_directory(folder, cell).path
            train_run(cell.run, dataset, out)
            evaluate_run(out, data)
    for name in ("data", "pca-3", "pca-7"):  # of which the last is no row of this study
        reference(folder / "made", name)
    return folder


def reference(folder: Path, name: str) -> Path:
    """A reference row of a run's own measurements."""
    there = folder / "references" / name
    there.mkdir(parents=True)
    for file in ("metrics.json", "per_image.npz"):
        shutil.copy(folder / "vae/seed-0" / file, there)
    write_json(there / "reference.json", {"name": name})
    return there


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return open_dataset(data, "tiny")


@pytest.fixture(scope="module")
def record(study: Study, dataset: Dataset, runs: Path) -> dict[str, Any]:
    return gather(study, dataset, runs, "python reproduce.py made.json")


def cells(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return next(row["cells"] for row in record["rows"] if row["name"] == name)


def test_each_metric_of_a_run_has_its_interval_over_images(record, runs: Path) -> None:
    with np.load(runs / "made/vae/seed-1/per_image.npz") as arrays:
        low, high = bootstrap_interval(arrays["eval.MSE"])
        sampled = bootstrap_interval(arrays["eval.generations.prior.sharpness"])
    cell = cells(record, "vae")[1]
    found = cell["metrics"]["MSE"]["interval"]
    assert found == pytest.approx([float(low), float(high)], rel=1e-5)
    assert found[0] < cell["metrics"]["MSE"]["mean"] < found[1]
    of_samples = cell["generations"]["prior"]["metrics"]
    assert of_samples["sharpness"]["interval"] == pytest.approx(list(map(float, sampled)), rel=1e-5)
    assert of_samples["diversity"]["interval"] is None, "one number of all samples"


def test_references_stand_in_their_order(record) -> None:
    assert [row["label"] for row in record["references"]] == [
        "PCA (3 dimensions)",
        "the data itself",
    ]
    (cell,) = record["references"][0]["cells"]
    vae = cells(record, "vae")[0]
    # No training made it.
    measured = {k: about for k, about in vae["metrics"].items() if about["over"] != "training"}
    assert cell["seed"] is None and cell["metrics"] == measured
    assert cell["generations"] == vae["generations"] and cell["images"] == 25


def test_comparisons_are_of_what_has_a_better_end(record, runs: Path) -> None:
    by_what = {(found["of"], found["key"]): found for found in record["comparisons"]}
    assert ("reconstruction", "MSE") in by_what and ("generation", "SSIM") in by_what
    assert not {("reconstruction", "KL"), ("generation", "sharpness")} & by_what.keys()
    mse = by_what["reconstruction", "MSE"]
    means = {
        row["name"]: np.mean([c["metrics"]["MSE"]["mean"] for c in row["cells"] if c["metrics"]])
        for row in record["rows"]
    }
    assert mse["best"] == min(means, key=means.get) and mse["test"] == "paired bootstrap"
    assert {mse["best"], *mse["p"]} == {"vae", "again", "vq"}
    rows = {found["best"] for found in record["comparisons"] if found["of"] == "generation"}
    rows |= {key for found in record["comparisons"] for key in found["p"] if "/" in key}
    assert rows == {"vae/prior", "again/prior", "vq/uniform", "vq/marginal"}


def test_the_same_bits_have_p_1(record) -> None:
    first, second = cells(record, "vae"), cells(record, "again")
    means = [[cell["metrics"]["BCE"]["mean"] for cell in own] for own in (first, second)]
    assert means[0] == means[1] and means[0][0] != means[0][1]
    tested = [found for found in record["comparisons"] if found["best"] == "vae"]
    assert tested and all(found["p"]["again"] == 1.0 for found in tested)


def test_a_record_comes_back_from_its_file_and_makes_the_same_tables(record, tmp_path) -> None:
    before = copy.deepcopy(record)
    write_json(tmp_path / "runs.json", deflate(record))
    assert record == before, "deflating changes nothing of it"
    again = read_record(tmp_path / "runs.json")
    assert again == record
    for table in record["tables"]:
        fresh, rebuilt = build_table(record, table), build_table(again, table)
        assert to_csv(fresh) == to_csv(rebuilt) and to_markdown(fresh) == to_markdown(rebuilt)
        assert to_latex(fresh, "s", "S") == to_latex(rebuilt, "s", "S")
        assert fresh.references and any(
            cell.best for row in fresh.rows for cell in row.cells if hasattr(cell, "best")
        )


def test_what_is_said_of_a_metric_stands_once(record, tmp_path) -> None:
    text = json.dumps(deflate(record))
    said = "variance of the Laplacian"
    assert text.count(said) == 1 < json.dumps(record).count(said)
    assert len(text) < 0.7 * len(json.dumps(record))


def test_a_missing_run_has_no_metrics(record) -> None:
    assert [cell["metrics"] is None for cell in cells(record, "vq")] == [False, True]


def test_a_reference_of_other_data_is_none_of_ours(study, dataset, runs, tmp_path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    file = tmp_path / "runs/made/references/pca-3/metrics.json"
    file.write_text(file.read_text().replace(dataset.hashes()["eval"], "0" * 64))
    found = gather(study, dataset, tmp_path / "runs", "")
    assert [row["name"] for row in found["references"]] == ["data"]


def test_latents_of_a_run_are_kept_in_six_digits(study, dataset, runs, tmp_path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    file = tmp_path / "runs/made/vae/seed-0/metrics.json"
    measured = json.loads(file.read_text())
    latents = {
        "dimensions": 2,
        "kl": [0.123456789, 1e-9],
        "correlations": {"size": [-0.7654321, 0.5]},
        "classes": None,
    }
    measured["splits"]["eval"]["latents"] = latents
    file.write_text(json.dumps(measured))
    first, second = cells(gather(study, dataset, tmp_path / "runs", ""), "vae")
    shorter = {"kl": [0.123457, 1e-9], "correlations": {"size": [-0.765432, 0.5]}}
    assert first["latents"] == latents | shorter and "latents" not in second


def test_the_other_budgets_stand_in_the_record(study, dataset, runs) -> None:
    more = {"small": Budget(cost="An hour."), "large": Budget(cost="A day.")}
    config = study.config.model_copy(update={"budgets": more})
    found = gather(replace(study, config=config, budget="small"), dataset, runs, "")["budgets"]
    assert found == [{"name": None, "cost": "Nothing."}, {"name": "large", "cost": "A day."}]


def test_without_per_image_values_there_are_no_intervals(study, dataset, runs, tmp_path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    for file in (tmp_path / "runs/made").glob("*/seed-*/per_image.npz"):
        file.unlink()
    found = gather(study, dataset, tmp_path / "runs", "")
    assert cells(found, "vae")[0]["metrics"]["MSE"]["interval"] is None
    assert found["comparisons"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 3}, "format 3, this version reads 2"),
        ({"metrics": []}, "not a study's record: IndexError"),
        ({"rows": None}, "not a study's record: TypeError"),
    ],
)
def test_a_file_that_is_no_record_is_one_line(record, tmp_path, change, words) -> None:
    write_json(tmp_path / "runs.json", deflate(record) | change)
    with pytest.raises(StudyError, match=words):
        read_record(tmp_path / "runs.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"study": "../made"}, "study: '../made' is wanted to be 'made', the folder's name"),
        ({"tables": [TABLES[0], TABLES[1] | {"name": "../x"}]}, "tables.1: name: "),
        ({"tables": [TABLES[0] | {"more": 1}]}, "tables.0: .*more"),
    ],
)
def test_names_of_files_are_names(record, tmp_path, change, words) -> None:
    path = tmp_path / "made/runs.json"
    check_record(record, path)
    with pytest.raises(StudyError, match=f"runs.json: {words}"):
        check_record(record | change, path)


def test_the_format_is_said(record, tmp_path) -> None:
    write_json(tmp_path / "runs.json", deflate(record))
    assert read_json_object(tmp_path / "runs.json")["format"] == FORMAT == 2
