"""Tables: formats, seeds, what is not defined, and the committed ones made again."""

import csv
import io

import pytest

from evaluate.formats import footnotes, format_cell, format_number, to_csv, to_markdown
from evaluate.metrics import ssim
from evaluate.page import page
from evaluate.record import read_record
from evaluate.tables import TableCell, build_table, check_tables, pieces
from study.errors import StudyError
from study.provenance import ROOT
from study.schema import GaussianLikelihood, StudyTable
from tests.made_record import TABLE, entry, generated, lines_of, record, sampled

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


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (0.015312, (0.01487, 0.01579), "0.01531 [0.01487, 0.01579]"),
        (-11429.43, (-11431.2, -11427.7), "−11429.4 [−11431.2, −11427.7]"),
        (3.0, (-47.0, 53.0), "3 [−47, 53]"),
        (5.0, (5.0, 5.0), "5.000 [5.000, 5.000]"),
    ],
)
def test_cells_are_cut_to_their_interval(mean: float, interval: tuple, text: str) -> None:
    assert format_cell(TableCell(mean, None, interval)) == text


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
    lines = lines_of(to_markdown(table))
    assert [lines[2][2:], lines[3][2:]] == [["−80.00", ""], ["", "−11000.0"]], "not undefined"
    why = "ELBO (Bernoulli) was not measured (B): ELBO (Gaussian, σ = 1) was asked for."
    assert why in to_markdown(table)


def test_rows_measured_on_other_numbers_of_images_are_told() -> None:
    made = record(("A", [{"SSIM": entry("SSIM", 0.5)}]), ("B", [{"SSIM": entry("SSIM", 0.6)}]))
    made["rows"][1]["cells"][0]["images"] = 64
    table = build_table(made, TABLE)
    assert "the eval split, 64 or 1,234 images" in to_markdown(table)
    assert {row["images"] for row in csv.DictReader(io.StringIO(to_csv(table)))} == {"64, 1234"}


def test_a_generation_table_has_a_row_for_each_sampler() -> None:
    table = build_table(generated(), TABLE | {"of": "generation"})
    lines = lines_of(to_markdown(table))
    assert lines[0] == ["model", "seeds", "SSIM ↑", "KL"]
    assert lines[2] == ["VAE", "2", "0.550 ± 0.071", "3.50 ± 0.71"]
    assert lines[3] == ["VQ, uniform codes", "2", "0.38 ± 0.18", "–"]
    assert lines[4] == ["VQ, codes of the empirical marginal", "2", "0.1250 ± 0", "–"]
    assert lines[5] == ["gone", "0 of 2", "", ""]
    note = to_markdown(table).splitlines()[-1]
    assert "500 samples of each row against their own reconstructions" in note
    for words in ("z ~ N(0, I)", "codes drawn uniformly", "from their empirical marginal"):
        assert words in note
    assert footnotes(table)[0] == "Samples, codes drawn uniformly: each code alike."
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["sampler"] for row in rows] == ["prior", "uniform", "marginal", ""]
    assert rows[1]["SSIM"] == "0.375" and rows[0]["samples"] == "500"


@pytest.mark.parametrize("of", ["reconstruction", "generation"])
def test_a_table_of_a_metric_that_is_not_there_is_one_line(of: str) -> None:
    about = StudyTable(name="t", title="T", of=of, metrics=["MSE", "SSMI"])
    with pytest.raises(StudyError, match=r"^f: tables.t.metrics: 'SSMI' .* \(did you mean 'SSIM'"):
        check_tables([about], "f")


def test_a_reconstruction_table_takes_nothing_from_generations() -> None:
    assert [row[2] for row in lines_of(to_markdown(build_table(generated(), TABLE)))[2:]] == [
        "0.9000 ± 0",
        "0.9000 ± 0",
        "",
    ]


def test_what_could_not_be_measured_is_empty_with_its_reason() -> None:
    made = record(
        ("VAE", [{"SSIM": entry("SSIM", 0.5), "KL": entry("KL", 7.0)}]),
        ("AE", [{"SSIM": entry("SSIM", 0.6)}]),
    )
    made["rows"][0]["cells"][0]["missing"] = {"LPIPS": "no weights"}
    table = build_table(made, TABLE | {"metrics": ["LPIPS", "SSIM", "KL"]})
    lines = lines_of(to_markdown(table))
    assert lines[0] == ["model", "seeds", "LPIPS", "SSIM ↑", "KL"]
    assert lines[2][2] == "" and lines[3][2] == "–"  # AE's lack of a reason is no reason
    assert "LPIPS was not measured (VAE): no weights." in to_markdown(table)
    assert not any(note.startswith("LPIPS") for note in footnotes(table))
    assert next(csv.DictReader(io.StringIO(to_csv(table))))["LPIPS"] == ""


def test_a_metric_that_one_seed_lacks_has_no_mean() -> None:
    made = record(("VAE", [{"SSIM": entry("SSIM", 0.5)}, {}]))
    made["rows"][0]["cells"][1]["missing"] = {"SSIM": "too small"}
    (line,) = lines_of(to_markdown(build_table(made, TABLE)))[2:]
    assert line == ["VAE", "2", ""]


def test_a_sampler_may_lack_a_metric_with_a_reason() -> None:
    made = record(("VAE", [{"SSIM": entry("SSIM", 0.5)}]))
    lacks = sampled("z ~ N(0, I)", 0.5, missing={"LPIPS": "no weights"})
    made["rows"][0]["cells"][0]["generations"] = {"prior": lacks}
    about = TABLE | {"of": "generation", "metrics": ["SSIM", "LPIPS"]}
    shown = to_markdown(build_table(made, about))
    assert lines_of(shown)[2] == ["VAE", "1", "0.5000", ""]
    assert shown.endswith("LPIPS was not measured: no weights.\n")


def test_pieces_of_a_wide_table_hold_all_of_it() -> None:
    metrics = {f"{key}{n}": entry(key, 0.1 * n) for n in (1, 2, 3) for key in ("SSIM", "KL", "MSE")}
    table = build_table(record(("A", [metrics])), TABLE | {"metrics": list(metrics)})
    cut = pieces(table, 8)
    assert [len(piece.columns) for piece in cut] == [5, 4]
    assert [c for piece in cut for c in piece.columns] == table.columns
    assert [c for piece in cut for c in piece.rows[0].cells] == table.rows[0].cells
    assert pieces(table, 9) == [table]


def test_a_page_says_that_settings_were_overridden() -> None:
    committed = read_record(RECORDS[0])
    command = committed["command"] + " --set trainer.num_epochs=1 --set 'model.x=[1, 2]'"
    shown = page(committed | {"command": command}, [])
    (budget,) = [line for line in shown.splitlines() if line.startswith("- Budget:")]
    assert "Overridden" in budget and budget.endswith("`trainer.num_epochs=1`, `model.x=[1, 2]`")
    assert "Overridden" not in page(committed, [])


def test_footnotes_name_settings_and_package() -> None:
    table = build_table(record(("A", [{"SSIM": entry("SSIM", 0.5)}])), TABLE)
    (note,) = footnotes(table)
    assert note.startswith("SSIM: ")
    assert note.endswith("; doi:10.1109/TIP.2003.819861; computed by piq.")
    for key in ssim.SETTINGS:
        assert key in note


def test_footnotes_say_which_z_was_decoded() -> None:
    made = record(("A", [{"SSIM": entry("SSIM", 0.5)}]), ("B", [None]))
    made["rows"][0]["cells"][0]["reconstruction"] = "of the posterior's mean"
    assert footnotes(build_table(made, TABLE))[0] == "Reconstructions: of the posterior's mean."


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ({}, "0.5"),
        ({"encoder": 1e-4, "decoder": 1e-4}, "0.0001"),
        ({"autoencoder": 1e-4, "discriminator": 0.002}, "autoencoder 0.0001, discriminator 0.002"),
    ],
)
def test_a_page_shows_the_learning_rates_that_were_used(rates: dict, shown: str) -> None:
    """Trainers with several optimizers have a `learning_rate` that they never read."""
    committed = read_record(RECORDS[0])
    rates = {f"{part}_learning_rate": rate for part, rate in rates.items()}
    for cell in committed["rows"][0]["cells"]:
        cell["config"]["trainer"] |= {"learning_rate": 0.5} | rates
    assert f" | {shown} | " in page(committed, [])
