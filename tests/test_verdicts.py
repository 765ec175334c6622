"""Verdicts on made-up results: every one is known, just inside and just outside each rule."""

import itertools

import pytest

from evaluate.claims.judge import judge
from evaluate.statistics import seed_interval
from tests.made_claims import (
    COMMAND,
    FULL,
    cells,
    exists,
    order,
    reference,
    study,
    trend,
    value,
    verdict,
    word,
)
from tests.made_record import sampled

BOTH = {"metric": "BCE", "as_published": "BCE (as published)"}


# --- numbers: the source's rounding and our interval ---------------------------------------------


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (0.0145, "reproduced"),
        (0.01449, "not reproduced"),
        (0.0155, "reproduced"),
        (0.01551, "not reproduced"),
        # Our interval has only to meet the source's rounding.
        ((0.0165, [0.0155, 0.0175]), "reproduced"),
        ((0.0165, [0.01551, 0.0175]), "not reproduced"),
        ((0.0135, [0.0125, 0.0145]), "reproduced"),
        ((0.0135, [0.0125, 0.01449]), "not reproduced"),
    ],
)
def test_one_seed_has_its_bootstrap_interval(ours, expected) -> None:
    assert word(study(a=[ours]), value(0.015, 3)) == expected


def test_several_seeds_have_the_interval_of_their_mean_and_not_of_their_images() -> None:
    seeds = (0.0160, 0.0162, 0.0164)
    low, _ = seed_interval(seeds)
    assert low == pytest.approx(0.0157032, abs=1e-7)  # 0.0162 - 4.30265 x 0.0002 / √3
    made = study(a=[(seed, [0.0, 1.0]) for seed in seeds])
    unit = 0.0005
    just_in, just_out = low - unit + 1e-6, low - unit - 1e-6
    for number, expected in ((just_in, "reproduced"), (just_out, "not reproduced")):
        claim = value() | {"number": None, "decimals": None}
        claim |= {"low": number - unit, "high": number + unit}
        assert word(made, claim) == expected
    assert "0.01620 [0.01570, 0.01670] (n = 3)" in verdict(made, value()).ours


@pytest.mark.parametrize(
    ("claim", "ours", "expected"),
    [
        (value(5.2, 1), 5.26, "not reproduced"),
        (value(5.2, 1, approx=True), 5.26, "reproduced"),
        (value(5.2, 1, approx=True), 5.31, "not reproduced"),
        (value(46.0, 0), 46.5, "reproduced"),
        (value(46.0, 0), 46.51, "not reproduced"),
        (value(None, None, low=0.015, high=0.018), 0.018, "reproduced"),
        (value(None, None, low=0.015, high=0.018), 0.01801, "not reproduced"),
        (value(None, None, low=0.015, high=0.018), 0.0149, "not reproduced"),
    ],
)
def test_rounding_may_be_about_or_a_range(claim, ours, expected) -> None:
    assert word(study(a=[ours]), claim) == expected


@pytest.mark.parametrize(("half", "expected"), [(0.0037, "reproduced"), (0.0038, "cannot tell")])
def test_an_interval_that_would_hold_nearly_anything_reproduces_nothing(half, expected) -> None:
    made = study(a=[(0.015, [0.015 - half, 0.015 + half])])
    assert word(made, value()) == expected
    # But what even that does not meet is another number.
    assert word(made, value(0.030)) == "not reproduced"


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.2, 0.4), "reproduced"),
        ((0.2, 0.41), "cannot tell"),
        ((0.19, 0.4), "cannot tell"),
        ((0.31, 0.45), "reproduced"),
    ],
)
def test_a_wide_interval_within_what_the_source_leaves_open_is_its_number(ends, expected) -> None:
    """'About 0.3' is 0.2 to 0.4, which is more than half of it."""
    made = study(a=[(sum(ends) / 2, list(ends))])
    assert word(made, value(0.3, 1, approx=True)) == expected
    ranged = value(None, None, low=0.2, high=0.4)
    assert word(made, ranged) == expected


@pytest.mark.parametrize(
    ("defined", "published", "expected"),
    [
        (23.2, 23.2, "reproduced"),
        (0.5, 23.2, "differs in definition"),
        (23.2, 0.5, "differs in definition"),
        (0.5, 0.6, "not reproduced"),
    ],
)
def test_a_number_that_the_source_computed_otherwise(defined, published, expected) -> None:
    made = study(a=[{"BCE": defined, "BCE (as published)": published}])
    found = verdict(made, value(23.2, 1, **BOTH))
    assert found.verdict == expected
    for way, ours in (("as defined", defined), ("as published", published)):
        assert f"{way} {ours:.4g}" in found.ours.replace("0.5000", "0.5").replace("23.20", "23.2")
    if expected == "differs in definition":
        assert found.why.startswith("it comes out as published") == (published == 23.2)


def test_of_two_definitions_one_that_is_not_measured_leaves_it_open() -> None:
    found = verdict(study(a=[{"BCE": 23.2}]), value(23.2, 1, **BOTH))
    assert found.verdict == "open" and "BCE (as published)" in found.why
    assert "as defined 23.20" in found.ours


# --- open: what is missing -----------------------------------------------------------------------


def test_a_missing_run_is_open_with_its_command() -> None:
    for rows, budget, why, command in (
        ({"a": [None, None]}, "small", "seed 0, 1", COMMAND),
        ({"a": [0.015, None]}, "small", "seed 1", COMMAND),
        ({"b": [0.015]}, None, "the study has no row 'a'", f"runs, then {COMMAND}"),
        # What a budget leaves out the study has.
        ({"b": [0.015]}, "small", "the study's budget 'small' has no row 'a'", FULL),
    ):
        found = verdict(study(**rows, budget=budget), value())
        assert found.verdict == "open" and why in found.why
        assert found.command is not None and found.command.endswith(command)


def test_a_seed_that_never_started_has_no_config() -> None:
    made = study(a=[0.015, None])
    made["rows"][0]["cells"][1] = {"seed": 1, "metrics": None}
    assert word(made, value()) == "open"


def test_missing_weights_are_named() -> None:
    made = study(a=[0.015])
    made["rows"][0]["cells"][0]["missing"] = {"LPIPS": "vgg16-397923af.pth was not found"}
    found = verdict(made, value(metric="LPIPS"))
    assert found.verdict == "open" and "vgg16-397923af.pth was not found" in found.why
    assert found.command is not None
    assert found.command.startswith("put vgg16-397923af.pth into") and COMMAND in found.command


@pytest.mark.parametrize("key", ["KL", "coverage@t", "D_KL (as published)", "reconstruction bits"])
def test_a_missing_metric_is_open(key: str) -> None:
    found = verdict(study(a=[0.015]), value(metric=key))
    assert found.verdict == "open" and f"{key} is not measured" in found.why
    assert ("evaluation.finite" in (found.command or "")) == (key != "KL")


def test_samples_are_looked_up_by_their_sampler() -> None:
    made = study(a=[0.015])
    drawn = sampled("z ~ N(0, I)", 0.5) | {"metrics": cells({"MSE": 0.03})}
    made["rows"][0]["cells"][0]["generations"] = {"prior": drawn}
    assert word(made, value(0.03, 2, sampler="prior")) == "reproduced"
    assert word(made, value(0.015, 3)) == "reproduced"
    absent = verdict(made, value(0.03, 2, sampler="maf"))
    assert absent.verdict == "open" and "samples by 'maf'" in absent.why


def test_what_no_measure_decides_is_open_and_says_what_is_missing() -> None:
    claim = {"id": "w", "kind": "word", "text": "codes are reused", "place": "text"}
    claim |= {"basis": "stated", "open": "a comparison of codes"}
    found = verdict(study(a=[0.015]), claim)
    assert found.verdict == "open" and "a comparison of codes" in found.why


def test_without_a_record_everything_is_open_and_nothing_is_left_out() -> None:
    source = reference(value(), trend(), order(), exists(below=1.0))
    found = judge(None, source, FULL)
    assert [v.claim for v in found] == source.claims
    assert {(v.verdict, v.command) for v in found} == {("open", FULL)}


def test_every_claim_has_one_verdict_whatever_is_there() -> None:
    claims = [value(), trend(), order(), exists(below=1.0)]
    source = reference(*claims)
    for here in itertools.product(([], [None], [0.01], [0.01, 0.02]), repeat=3):
        rows = {name: seeds for name, seeds in zip("abc", here, strict=True) if seeds}
        found = judge(study(**rows), source, COMMAND)
        assert [v.claim.id for v in found] == [claim["id"] for claim in claims]
        assert all(v.why and v.theirs for v in found)
        assert all(v.command for v in found if v.verdict == "open")
