"""Verdicts on figures, on numbers of the training and on counts of the data."""

import pytest

from evaluate.claims.judge import judge
from evaluate.claims.page import verdict_page, write_verdicts
from study.errors import StudyError
from tests.made_claims import (
    COMMAND,
    FULL,
    MEASURED,
    exists,
    figure,
    measured,
    order,
    picture,
    reference,
    study,
    value,
    verdict,
)

# The source measured on a split that ours is not.
ELSEWHERE = {"measured": MEASURED | {"split": "test"}}


def drawn(*figures: dict) -> dict:
    return study(a=[0.1]) | {"figures": list(figures)}


def test_a_figure_that_is_drawn_is_named_by_its_file() -> None:
    made = drawn(picture("other", "other.png"), picture("made_figure", "made_figure.png"))
    found = verdict(made, figure())
    assert (found.verdict, found.theirs, found.ours) == ("drawn", "shown", "made_figure.png")
    assert found.why.endswith("in made_figure.png") and found.command is None


def test_a_figure_of_several_files_names_them_all() -> None:
    files = ("made_figure-a.png", "made_figure-b.png")
    found = verdict(drawn(picture("made_figure", *files)), figure())
    assert (found.verdict, found.ours) == ("drawn", "2 pictures")
    assert all(file in found.why for file in files)


@pytest.mark.parametrize(
    "made",
    [study(a=[0.1]), drawn(), drawn(picture("other", "o.png")), drawn(picture("made_figure"))],
    ids=["an older record", "none", "another", "no file"],
)
def test_a_figure_that_is_not_drawn_is_open(made: dict) -> None:
    found = verdict(made, figure())
    assert (found.verdict, found.command) == ("open", COMMAND)
    assert "'made_figure' is not drawn" in found.why


@pytest.mark.parametrize(
    ("seeds", "command"),
    [({"a": [None]}, COMMAND), ({"b": [0.1]}, FULL), ({"a": [None, 0.1]}, None)],
    ids=["not measured", "left out by the budget", "one of two seeds"],
)
def test_a_figure_of_a_row_that_was_not_measured_is_open(seeds: dict, command) -> None:
    made = study(**seeds) | {"figures": [picture("made_figure", "made_figure.png")]}
    assert verdict(made, figure()).verdict == "drawn"
    found = verdict(made, figure(rows=["a"]))
    assert (found.verdict, found.command) == ("open" if command else "drawn", command)
    assert (found.why.lower() == "a, which it shows, is not measured") == (command is not None)


def test_a_figure_of_runs_unlike_the_sources_says_so() -> None:
    made = study(a=[0.1], epochs=1) | {"figures": [picture("made_figure", "made_figure.png")]}
    found = verdict(made, figure(rows=["a"]))
    assert found.verdict == "drawn" and "(although 0.1 times the source's training" in found.why
    assert "although" not in verdict(made, figure()).why


def test_a_figures_rows_are_the_sources() -> None:
    with pytest.raises(StudyError, match="'f': 'd' is not among rows"):
        reference(figure(rows=["d"]))


def test_a_figure_of_a_study_that_was_not_run_is_open() -> None:
    found = verdict(None, figure())
    assert (found.verdict, found.why) == ("open", "the study has not been run")


def test_a_page_counts_figures_apart(tmp_path) -> None:
    source = reference(figure(), value())
    made = drawn(picture("made_figure", "made_figure.png"))
    write_verdicts(made, source, tmp_path, COMMAND)
    page = (tmp_path / "VERDICTS.md").read_text()
    assert page == verdict_page(judge(made, source, COMMAND), source, "Made", picture=True)
    assert "| figures | 1 | 0 | 0 | 0 | 0 | 1 | 0 |" in page
    assert "**drawn**: for people to judge, in made_figure.png. Of: f." in page
    assert "made_figure.png" in (tmp_path / "verdicts.md").read_text()
    assert r"made\_figure.png" in (tmp_path / "verdicts.tex").read_text()


def of_training(*means: float) -> list[dict]:
    return [{"training MSE": measured(mean, over="training"), "MSE": mean} for mean in means]


def test_a_number_of_the_training_knows_no_split() -> None:
    made = study(a=of_training(0.0149, 0.0150, 0.0151))
    assert verdict(made, value(metric="training MSE"), **ELSEWHERE).verdict == "reproduced"
    other = verdict(made, value(metric="MSE"), **ELSEWHERE)
    assert other.verdict == "cannot tell" and "by the source on the test split" in other.why
    wrong = verdict(made, value(0.5, 1, metric="training MSE"), **ELSEWHERE)
    assert wrong.verdict == "not reproduced"


def test_how_long_it_was_trained_still_matters_to_it() -> None:
    made = study(a=of_training(0.0149, 0.0150, 0.0151), epochs=1)
    found = verdict(made, value(metric="training MSE"), **ELSEWHERE)
    assert found.verdict == "cannot tell" and "0.1 times the source's training" in found.why


@pytest.mark.parametrize("key", ["training MSE", "reconstruction fall", "KL fall"])
def test_what_needs_two_epochs_says_so(key: str) -> None:
    for epochs, why, command in (
        (1, f"a: {key} needs two epochs at least, and there was one", "set trainer.num_epochs"),
        (2, f"a: {key} is not measured", COMMAND),
    ):
        found = verdict(study(a=[0.1] * 3, epochs=epochs), value(metric=key))
        assert (found.verdict, found.why) == ("open", why)
        assert found.command is not None and found.command.startswith(command)


def test_a_ratio_with_a_number_of_a_split_is_of_that_split() -> None:
    made = study(a=of_training(0.0149, 0.0150, 0.0151))
    claim = exists(metric="training MSE", over={"metric": "MSE"}, above=2.0)
    found = verdict(made, claim, **ELSEWHERE)
    assert found.verdict == "cannot tell" and "by the source on the test split" in found.why


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (exists(metric="training MSE", below=1.0), "one seed, and no interval"),
        (order("b", metric="training MSE"), "one seed a row"),
        (value(metric="training MSE"), "one seed, and no interval"),
        (
            exists(metric="training MSE", over={"metric": "MSE"}, below=9.0),
            "one seed, and no interval",
        ),
    ],
)
def test_one_seed_of_a_training_settles_nothing(claim: dict, why: str) -> None:
    alone = [{"training MSE": {"mean": 0.015, "interval": None, "over": "training"}, "MSE": 0.015}]
    found = verdict(study(a=alone, b=alone), claim)
    assert found.verdict == "cannot tell" and why in found.why


@pytest.mark.parametrize(
    ("number", "word"), [(8002, "reproduced"), (7824, "not reproduced"), (8003, "not reproduced")]
)
def test_a_count_of_the_data_is_exact_with_one_seed_of_any_run(number: int, word: str) -> None:
    counted = {"mean": 8002.0, "interval": None, "over": "data"}
    made = study(a=[{"count": counted}], epochs=1)
    found = verdict(made, value(number, 0, metric="count"), **ELSEWHERE)
    assert found.verdict == word and found.numbers[1] == (8002, 8002, 8002)


def test_a_count_that_was_published_otherwise_differs_in_definition() -> None:
    counts = {"count": 7824.0, "count (as published)": 8002.0}
    entries = {key: {"mean": n, "interval": None, "over": "data"} for key, n in counts.items()}
    claim = value(8002, 0, metric="count", as_published="count (as published)")
    found = verdict(study(a=[entries], epochs=1), claim)
    assert found.verdict == "differs in definition"


def test_a_count_of_other_images_is_another() -> None:
    entry = {"mean": 8002.0, "interval": None, "over": "data"}
    made = study(a=[{"count": entry}], size=32)
    found = verdict(made, value(8002, 0, metric="count"))
    assert found.verdict == "cannot tell" and "images of 32 px" in found.why
