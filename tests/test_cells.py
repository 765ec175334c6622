"""A study's reference rows: measured once, anew when settings change; none but its own is shown."""

import json
from pathlib import Path

import pytest

from evaluate import cells
from evaluate.cells import evaluate_cell, evaluate_references, references_measured
from evaluate.record import gather
from evaluate.report import write_tables
from study.datasets import Dataset, open_dataset
from study.expansion import Study, load_study
from tests import made
from train.run import train_run

TABLES = [
    {"name": "table", "title": "Table", "metrics": ["MSE", "KL"]},
    {"name": "samples", "title": "Samples", "of": "generation", "metrics": ["MSE", "NN train"]},
]


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return open_dataset(data, "tiny")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made.run_file(folder, "VAE", "vae")
    about = {"data": {"dataset": "shapes", "name": "tiny"}, "seeds": [0], "tables": TABLES}
    config = made.study_config({"vae": "vae.json"}, **about)
    (folder / "made.json").write_text(json.dumps(config))
    return folder / "made.json"


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """The names of the rows that are measured."""
    names, measure = [], cells.evaluate_reference

    def noted(reference, *more, **words) -> None:
        names.append(reference.name)
        measure(reference, *more, **words)

    monkeypatch.setattr(cells, "evaluate_reference", noted)
    return names


def shown(study: Study, dataset: Dataset, runs: Path) -> list[str]:
    return [row["name"] for row in gather(study, dataset, runs, "")["references"]]


def test_measured_once_and_again_after_a_change(
    file: Path, dataset: Dataset, tmp_path: Path, measured: list[str]
) -> None:
    study, rows = load_study(file), ["pca-3", "mean_image", "data"]
    assert not references_measured(study, dataset, tmp_path)
    evaluate_references(study, dataset, tmp_path)
    assert measured == rows and references_measured(study, dataset, tmp_path)
    folder = tmp_path / "made" / "references"
    assert {path.name for path in folder.iterdir()} == set(rows)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    evaluate_references(study, dataset, tmp_path)
    assert measured == rows
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert shown(study, dataset, tmp_path) == rows

    more = load_study(file, None, {"evaluation.samples": 21})
    assert not references_measured(more, dataset, tmp_path)
    assert shown(more, dataset, tmp_path) == [], "none that these settings did not make"
    evaluate_references(more, dataset, tmp_path)
    assert measured == 2 * rows and shown(more, dataset, tmp_path) == rows
    (cell,) = gather(more, dataset, tmp_path, "")["references"][0]["cells"]
    assert cell["generations"]["gaussian"]["samples"] == 21

    # One that is lost is measured alone.
    (folder / "mean_image" / "metrics.json").unlink()
    evaluate_references(more, dataset, tmp_path)
    assert measured == [*2 * rows, "mean_image"]


def test_of_another_latent_size_none_is_shown(
    file: Path, dataset: Dataset, tmp_path: Path, measured: list[str]
) -> None:
    study, smaller = load_study(file), load_study(file, None, {"model.latent_dim": 2})
    evaluate_references(study, dataset, tmp_path)
    evaluate_references(smaller, dataset, tmp_path)
    assert measured == ["pca-3", "mean_image", "data", "pca-2"]
    assert shown(smaller, dataset, tmp_path) == ["pca-2", "mean_image", "data"]
    assert shown(study, dataset, tmp_path) == ["pca-3", "mean_image", "data"]


def test_a_finite_data_set_has_its_perfect_sampler(
    file: Path, dataset: Dataset, tmp_path: Path, measured: list[str]
) -> None:
    finite = {"samples": 30, "distance_samples": 10}
    study = load_study(file, None, {"evaluation.finite": finite})
    evaluate_references(study, dataset, tmp_path)
    assert measured == ["pca-3", "mean_image", "data", "perfect_sampler"]
    *_, row = gather(study, dataset, tmp_path, "")["references"]
    made = row["cells"][0]["generations"]["perfect"]
    assert made["metrics"]["NN valid"]["mean"] == 0
    # Of another study, which asks for no such thing, it is no row.
    assert shown(load_study(file), dataset, tmp_path) == []


def test_they_stand_in_the_tables(file: Path, dataset: Dataset, tmp_path: Path) -> None:
    study, runs = load_study(file), tmp_path / "runs"
    (cell,) = study.cells
    train_run(cell.run, dataset, study.run_directory(runs, cell).path)
    evaluate_cell(study, cell, dataset, runs)
    evaluate_references(study, dataset, runs)
    table, samples = write_tables(gather(study, dataset, runs, ""), tmp_path)
    labels = ["PCA (3 dimensions)", "mean image", "the data itself"]
    assert [row.label for row in table.references] == labels
    assert [row.label for row in samples.references] == labels
    of_data = table.references[2].cells
    assert of_data[0].mean == 0 and of_data[1] is None, "the data have no KL"
    # The floor, as the run's own record has it of the split's mean image, or nearly.
    assert table.references[1].cells[0].mean > table.references[0].cells[0].mean > 0
    assert samples.references[2].cells[1].mean == 0, "training images are their own neighbours"
    for kind in ("csv", "md", "tex"):
        text = (tmp_path / f"table.{kind}").read_text()
        assert all(label in text for label in labels), kind
