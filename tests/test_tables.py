"""Tables: formats, seeds, what is not defined, and the committed ones made again."""

import csv
import io

import pytest

from evaluate.metrics import ssim
from evaluate.registry import metrics_for
from evaluate.report import page
from evaluate.tables import (
    TableCell,
    build_table,
    footnotes,
    format_cell,
    format_number,
    to_csv,
    to_markdown,
)
from study.jsonfile import read_json_object
from study.provenance import ROOT
from study.schema import BernoulliLikelihood, GaussianLikelihood

RECORDS = sorted(ROOT.glob("results/*/runs.json"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.015312, "0.01531"),
        (1.0, "1.000"),
        (0.99996, "1.0000"),
        (-77.051, "−77.05"),
        (11534.26, "11534.3"),
        (1e-7, "0.0000001000"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (0.015312, 0.00123, "0.0153 ± 0.0012"),
        (-101.26, 12.4, "−101 ± 12"),
        (5.0, 0.0, "5.000 ± 0"),
        (0.5, None, "0.5000"),
    ],
)
def test_cells_are_cut_to_their_deviation(mean: float, sd: float | None, text: str) -> None:
    assert format_cell(TableCell(mean, sd)) == text


def entry(key: str, mean: float, likelihood=None) -> dict:
    metric = metrics_for(likelihood or BernoulliLikelihood(name="bernoulli"), 1)[key]
    return {
        "title": metric.title,
        "mean": mean,
        "sd": 1.0,
        "better": metric.better,
        "unit": metric.unit,
        "definition": metric.definition,
        "settings": metric.settings,
        "package": metric.package,
    }


def record(*rows: tuple[str, list[dict | None]]) -> dict:
    on = {"images": 1234, "data": {"subset": "1,234 of 19,867 eval images of CelebA"}}
    made = [
        {"label": label, "cells": [{"seed": i, "metrics": m} | on for i, m in enumerate(cells)]}
        for label, cells in rows
    ]
    return {"rows": made, "split": "eval"}


TABLE = {"name": "t", "title": "T", "metrics": ["SSIM", "KL", "ELBO"]}


def test_seeds_are_averaged_with_their_sample_deviation() -> None:
    table = build_table(
        record(("A", [{"SSIM": entry("SSIM", value)} for value in (0.5, 0.6, 0.7)])), TABLE
    )
    assert [column.title for column in table.columns] == ["SSIM"]
    cell = table.rows[0].cells[0]
    assert (cell.mean, cell.sd) == (pytest.approx(0.6), pytest.approx(0.1))


def test_undefined_is_a_dash_and_missing_is_empty() -> None:
    table = build_table(
        record(
            ("VAE", [{"SSIM": entry("SSIM", 0.5), "KL": entry("KL", 7.0)}]),
            ("AE", [{"SSIM": entry("SSIM", 0.6)}]),
            ("failed", [None, None]),
            ("half", [{"SSIM": entry("SSIM", 0.7)}, None]),
        ),
        TABLE,
    )
    lines = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in to_markdown(table).splitlines()
    ]
    assert lines[0] == ["model", "seeds", "SSIM ↑", "KL"]
    assert lines[2] == ["VAE", "1", "0.5000", "7.000"]
    assert lines[3] == ["AE", "1", "0.6000", "–"]
    assert lines[4][:2] == ["failed", "0 of 2"] and "–" not in lines[4] and "0.0" not in lines[4]
    assert lines[5] == ["half", "1 of 2", "0.7000", "–"]
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert rows[1]["KL"] == "" and rows[2]["SSIM"] == "" and rows[0]["KL"] == "7.0"


def test_a_table_says_what_it_was_measured_on_in_both_formats() -> None:
    table = build_table(record(("A", [{"SSIM": entry("SSIM", 0.5)}])), TABLE)
    under = to_markdown(table).splitlines()[-1]
    assert under.startswith("Measured on the eval split, 1,234 images. **Not the whole data set:**")
    (row,) = csv.DictReader(io.StringIO(to_csv(table)))
    assert (row["split"], row["images"]) == ("eval", "1234")
    assert row["subset"] == "1,234 of 19,867 eval images of CelebA"


def test_two_likelihoods_are_two_columns() -> None:
    gaussian = GaussianLikelihood(name="gaussian", sigma=1.0)
    table = build_table(
        record(
            ("A", [{"ELBO": entry("ELBO", -80.0)}]),
            ("B", [{"ELBO": entry("ELBO", -11000.0, gaussian)}]),
        ),
        TABLE,
    )
    assert [c.title for c in table.columns] == ["ELBO (Bernoulli)", "ELBO (Gaussian, σ = 1)"]
    assert table.rows[0].cells[1] is None and table.rows[1].cells[0] is None


def test_footnotes_name_settings_and_package() -> None:
    table = build_table(record(("A", [{"SSIM": entry("SSIM", 0.5)}])), TABLE)
    (note,) = footnotes(table)
    assert note.startswith("SSIM: ") and note.endswith("computed by piq.")
    for key in ssim.SETTINGS:
        assert key in note


def test_there_are_committed_results() -> None:
    assert {path.parent.name for path in RECORDS} >= {"shapes", "mnist-small", "celeba64-small"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_committed_tables_are_what_the_code_makes(path) -> None:
    committed = read_json_object(path)
    tables = [build_table(committed, table) for table in committed["tables"]]
    for table in tables:
        assert (path.parent / f"{table.name}.csv").read_text() == to_csv(table)
        assert (path.parent / f"{table.name}.md").read_text() == to_markdown(table)
    shown = (path.parent / "README.md").read_text()
    for text in page(committed, tables, []).split("\n\n"):
        assert text.strip() in shown


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_committed_pages_show_pictures_that_are_there(path) -> None:
    pictures = [
        line.split("](")[1].rstrip(")")
        for line in (path.parent / "README.md").read_text().splitlines()
        if line.startswith("![")
    ]
    assert len(pictures) == 3
    for name in pictures:
        assert (path.parent / name).read_bytes()[:4] == b"\x89PNG"
