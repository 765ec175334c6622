"""What a table says of certainty: intervals, the best and its equals, references below."""

import csv
import io

from evaluate.formats import footnotes, to_csv, to_markdown
from evaluate.tables import build_table, pieces
from tests.made_record import (
    TABLE,
    compared,
    entry,
    generated,
    lines_of,
    record,
    reference,
    sampled,
)


def marked(**more):
    """Four models: best, the same as it, just not, and clearly worse; KL has no better end."""
    seeds = {"best": (0.9, 0.8), "equal": (0.84, 0.84), "near": (0.7, 0.9), "worse": (0.1, 0.2)}
    rows = [
        (name, [{"SSIM": entry("SSIM", v), "KL": entry("KL", v)} for v in values])
        for name, values in seeds.items()
    ]
    p = {"equal": 0.8, "near": 0.05, "worse": 0.0499}
    return record(*rows, comparisons=[compared("SSIM", "best", p)], **more)


def test_the_best_and_what_cannot_be_told_from_it_are_marked() -> None:
    table = build_table(marked(), TABLE)
    shown = to_markdown(table)
    assert [line[2:] for line in lines_of(shown)[2:]] == [
        ["**0.850 ± 0.071**", "0.850 ± 0.071"],
        ["0.8400 ± 0†", "0.8400 ± 0"],
        ["0.80 ± 0.14†", "0.80 ± 0.14"],
        ["0.150 ± 0.071", "0.150 ± 0.071"],
    ]
    assert "† cannot be told from it: p ≥ 0.05 by paired bootstrap over images and the " in shown
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["SSIM vs best p"] for row in rows] == ["1.0", "0.8", "0.05", "0.0499"]
    assert "KL vs best p" not in rows[0] and "SSIM low" not in rows[0]


def test_rows_of_the_same_numbers_as_the_best_are_best_too() -> None:
    seeds = [{"SSIM": entry("SSIM", 0.5)}]
    made = record(("VAE", seeds), ("β = 1", seeds), ("other", [{"SSIM": entry("SSIM", 0.4)}]))
    made["comparisons"] = [compared("SSIM", "VAE", {"β = 1": 1.0, "other": 0.001})]
    shown = to_markdown(build_table(made, TABLE))
    cells = [line[2] for line in lines_of(shown)[2:]]
    assert cells == ["**0.5000**", "**0.5000**", "0.4000"]
    assert "over images alone, of these trainings, after Holm's correction" in shown


def test_what_was_not_compared_is_said() -> None:
    """Of numbers of a split: Welch over seeds where there are several, else nothing."""
    keys = ["SSIM", "GMSD", "MSE"]
    values = [{key: entry(key, v) for key in keys} for v in (0.5, 0.6)]
    made = record(("A", values), ("B", values))
    made["comparisons"] = [
        compared("SSIM", "A", {"B": 1.0}),
        compared("GMSD", "A", {"B": 0.9}, test="Welch"),
        compared("MSE", "A", {"B": 0.9}, of="generation"),
    ]
    shown = to_markdown(build_table(made, TABLE | {"metrics": keys}))
    assert "the spread of the seeds (Welch's t-test over seeds for GMSD), after Holm" in shown
    assert "Not compared, and so not marked: MSE." in shown
    assert "marked" not in to_markdown(build_table(made, TABLE | {"metrics": ["MSE"]}))


def test_one_seed_has_its_interval_in_brackets() -> None:
    one = {"SSIM": entry("SSIM", 0.5, interval=[0.45, 0.55]), "KL": entry("KL", 7.0)}
    made = record(("A", [one]), ("B", [one, one]))
    table = build_table(made, TABLE)
    shown = to_markdown(table)
    lines = lines_of(shown)
    assert lines[2] == ["A", "1", "0.500 [0.450, 0.550]", "7.000"]
    assert lines[3] == ["B", "2", "0.5000 ± 0", "7.000 ± 0"]
    assert (
        "Brackets, where there is one seed or none, are the 95 % interval of the mean ov" in shown
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [(row["SSIM low"], row["SSIM high"]) for row in rows] == [("0.45", "0.55"), ("", "")]
    assert "One seed each" in to_markdown(build_table(record(("A", [one])), TABLE))


def test_references_stand_below_and_are_compared_with_nothing() -> None:
    floor = reference("PCA (2)", {"SSIM": entry("SSIM", 0.99, interval=[0.98, 1.0])})
    other = reference("perfect", {"MSE": entry("MSE", 0.0)})
    table = build_table(marked(references=[floor, other]), TABLE)
    shown = to_markdown(table)
    lines = lines_of(shown)
    assert [line[0] for line in lines[2:]] == ["best", "equal", "near", "worse", "*PCA (2)*"]
    assert lines[6][1:] == ["–", "0.990 [0.980, 1.000]", "–"], "and `perfect` has nothing here"
    assert lines[2][2].startswith("**"), "the best model stays the best"
    assert "Rows in italics are references" in shown and "not defined for this row" in shown
    assert footnotes(table)[0] == "PCA (2): what PCA (2) is."
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert (rows[4]["model"], rows[4]["seeds"], rows[4]["SSIM"]) == ("PCA (2)", "", "0.99")
    assert rows[0]["seeds"] == "2" and rows[4]["SSIM vs best p"] == ""
    assert pieces(table, 1)[0].references[0].cells == table.references[0].cells[:1]


def test_samplers_are_compared_and_have_references_too() -> None:
    made = generated()
    prior = {"prior": sampled("drawn from the data", 0.99, definition="any of them")}
    made["references"] = [reference("data", {}, generations=prior)]
    p = {"VQ/uniform": 0.2, "VQ/marginal": 0.01}
    made["comparisons"] = [compared("SSIM", "VAE/prior", p, of="generation")]
    table = build_table(made, TABLE | {"of": "generation"})
    shown = to_markdown(table)
    cells = {line[0]: line[2] for line in lines_of(shown)[2:]}
    assert cells["VAE"] == "**0.550 ± 0.071**" and cells["VQ, uniform codes"] == "0.38 ± 0.18†"
    assert cells["VQ, codes of the empirical marginal"] == "0.1250 ± 0"
    assert cells["*data*"] == "0.9900" and "drawn from the data" not in shown
    assert "Samples, drawn from the data: any of them." in footnotes(table)
    assert "paired bootstrap over samples and the spread of the seeds" in shown


def test_a_column_is_its_title_and_settings_whatever_else_is_said_of_it() -> None:
    other = entry("SSIM", 0.6) | {"needs": "more", "source": "elsewhere", "definition": "words"}
    made = record(("A", [{"SSIM": entry("SSIM", 0.5)}]), ("B", [{"SSIM": other}]))
    table = build_table(made, TABLE)
    assert len(table.columns) == 1 and [row.cells[0].mean for row in table.rows] == [0.5, 0.6]
