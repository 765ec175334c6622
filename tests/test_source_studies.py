"""The sources' claims on the studies that re-run them: how near our runs are, and that each claim
of a study that is run to its end is judged."""

import pytest

from evaluate.claims.comparable import obstacles
from evaluate.claims.judge import judge
from evaluate.claims.schema import Figure, Order, Word
from evaluate.claims.ways import choices, places
from study.expansion import load_study
from tests.made_claims import CONFIGURED, cells, measured, of, picture


def record_of(name: str, budget: str | None) -> dict:
    """What a study's file says that it trains, as a record, nothing measured."""
    source, loaded = of(name), load_study(CONFIGURED[name], budget)
    made = {"split": loaded.split, "budget": budget, "command": "", "rows": []}
    # What shapes' 8,002 configurations give, what the notes' small budget asks for, and MNIST's.
    train = {"shapes": 7202, "celeba56": 8000, "mnist": 50_000}[name]
    for row, of_row in loaded.rows().items():
        config = of_row[0].run.resolved()
        config["model"]["input_dim"] = [1, source.measured.image_size, source.measured.image_size]
        on = {"data": {"images": {"train": train}}, "config": config}
        made["rows"].append({"name": row, "label": row, "cells": [on]})
    return made


def test_the_reports_budget_is_the_report_and_the_usual_one_is_not() -> None:
    source = of("shapes")
    assert set(source.rows) == set(load_study(CONFIGURED["shapes"], "paper").rows())
    paper, usual = record_of("shapes", "paper"), record_of("shapes", None)
    for row in source.rows:
        assert obstacles(paper, source, [row], {"images"}) == []
        told = "; ".join(obstacles(usual, source, [row], {"images"}))
        assert "networks.encoder is [512, 256]" in told and "times the source's training" in told
        # How many images there are is no matter of training.
        assert obstacles(usual, source, [row], {"data"}) == []


def test_the_notes_are_run_for_as_many_steps_on_fewer_images() -> None:
    source, made = of("celeba56"), record_of("celeba56", "small")
    assert set(source.rows) == {row["name"] for row in made["rows"]}
    assert obstacles(made, source, list(source.rows), {"images", "training"}) == []


@pytest.mark.parametrize("name", ["shapes", "mnist", "celeba56"])
def test_every_claim_of_a_study_that_is_run_has_a_measure(name: str) -> None:
    left = [claim.id for claim in of(name).claims if isinstance(claim, Word)]
    # Another source's, with a study of its own to come.
    assert left == (["homework-ae-separates"] if name == "mnist" else [])


def test_what_the_loss_reduces_to_is_two_readings_of_each_claim() -> None:
    claims = {claim.id: claim for claim in of("mnist").claims if claim.place.startswith("blog")}
    measured = [name for name, claim in claims.items() if not isinstance(claim, Figure)]
    for name in measured:
        assert name.endswith("-mean") or f"{name}-mean" in claims, name
    ratio, mean = claims["reconstruction-above-kl"], claims["reconstruction-above-kl-mean"]
    assert (ratio.over.scale, mean.over.scale) == (784, 1)


OVER = {
    **dict.fromkeys(("training MSE", "reconstruction fall", "KL fall", "KL share"), "training"),
    **dict.fromkeys(("distinct images", "distinct images (as published)"), "data"),
}


def complete(name: str, budget: str | None, seeds: int) -> dict:
    """A study's record with every number that its source's claims name, and every figure."""
    source, made = of(name), record_of(name, budget)
    made["figures"] = [
        picture(figure.file, f"{figure.file}.png")
        for figure in load_study(CONFIGURED[name], budget).config.figures
    ]
    for row in made["rows"]:
        row["cells"] = [row["cells"][0] | {"seed": seed, "metrics": {}} for seed in range(seeds)]
    wanted = {
        place
        for claim in source.claims
        if not isinstance(claim, Figure | Word)
        for _, chosen in choices(claim)
        for published in (False, True)
        for place in places(chosen, published)
    }
    for row, sampler, key in wanted:
        (found,) = [known for known in made["rows"] if known["name"] == row]
        for seed, cell in enumerate(found["cells"]):
            number = 1 + seed / 100
            settings = source.settings.get(key, {})
            about = measured(number, settings=settings, over=OVER.get(key, "images"))
            entry = cell
            if sampler is not None:
                made_by = cell.setdefault("generations", {})
                entry = made_by.setdefault(sampler, {"samples": 10, "metrics": {}})
            entry["metrics"] |= cells({key: about})
    return made


@pytest.mark.parametrize(
    ("name", "budget", "seeds"),
    [
        ("shapes", None, 3),
        ("shapes", "paper", 1),
        ("mnist", "small", 3),
        ("celeba56", "small", 5),
    ],
)
def test_a_study_that_was_run_leaves_no_claim_open(
    name: str, budget: str | None, seeds: int
) -> None:
    source = of(name)
    verdicts = judge(complete(name, budget, seeds), source, "python reproduce.py STUDY")
    for verdict in verdicts:
        kind = verdict.claim.kind
        assert (verdict.verdict == "open") == (kind == "word"), (verdict.claim.id, verdict.why)
        assert (verdict.verdict == "drawn") == (kind == "figure")
        if isinstance(verdict.claim, Order) and seeds > 1:
            assert "against" in verdict.ours
    if name == "shapes":
        words = {verdict.claim.id: verdict.verdict for verdict in verdicts}
        assert words["unique-images"] == "not reproduced", "of 1 image, counted exactly"
        # A number of a run that is unlike the report's is not judged.
        value = words["vae-nn-distance"]
        assert value == ("not reproduced" if budget == "paper" else "cannot tell")


def test_without_the_script_rows_their_claims_are_open_and_no_others() -> None:
    """What make reproduce runs in its five minutes has not got them."""
    source, record = of("shapes"), complete("shapes", None, 3)
    command = "python reproduce.py configs/studies/shapes.json"
    record["budget"] = "quick"
    record["rows"] = [row for row in record["rows"] if "script" not in row["name"]]
    for verdict in judge(record, source, f"{command} --budget quick"):
        assert (verdict.verdict == "open") == verdict.claim.id.endswith("-script")
        if verdict.verdict == "open":
            assert "budget 'quick' has no row" in verdict.why
            assert verdict.command == command
