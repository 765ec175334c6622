"""Verdicts on made-up results: every one is known, just inside and just outside each rule."""

import itertools

import pytest

from evaluate.claims.judge import judge
from evaluate.statistics import seed_interval
from tests.made_claims import (
    COMMAND,
    FULL,
    MEASURED,
    ROWS,
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


# --- cannot tell: budget, split, size, networks --------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "images", "judged"),
    [
        (10, 8000, True),
        (5, 8000, True),
        (10, 4000, True),
        (10, 3999, False),
        (20, 8000, True),
        (10, 16001, False),
        (20, 4000, True),
        (1, 80000, True),
    ],
)
def test_half_to_twice_the_training_may_be_compared(epochs, images, judged) -> None:
    for ours, otherwise in ((0.015, "reproduced"), (0.02, "not reproduced")):
        found = verdict(study(a=[ours], epochs=epochs, images=images), value())
        assert found.verdict == (otherwise if judged else "cannot tell")
        if not judged:
            assert "times the source's training" in found.why and found.command == FULL


@pytest.mark.parametrize(
    ("stated", "made", "expected"),
    [
        ({"epochs": None}, {"epochs": 1, "budget": None}, "reproduced"),
        ({"epochs": None}, {"images": 100, "budget": None}, "cannot tell"),
        ({"training_images": None}, {"images": 100, "budget": None}, "reproduced"),
        ({"training_images": None}, {"epochs": 4, "budget": None}, "cannot tell"),
        ({"split": "train"}, {}, "cannot tell"),
        ({"split": "test"}, {}, "cannot tell"),
        ({"split": "held out"}, {}, "reproduced"),
        ({"split": None}, {}, "reproduced"),
        ({"image_size": 32}, {}, "cannot tell"),
        ({"image_size": None}, {"size": 64}, "reproduced"),
    ],
)
def test_only_what_the_source_states_is_compared(stated, made, expected) -> None:
    record = study(a=[0.015], **made)
    assert word(record, value(), measured=MEASURED | stated) == expected


def test_training_images_are_not_held_out() -> None:
    made = study(a=[0.015]) | {"split": "train"}
    assert word(made, value(), measured=MEASURED | {"split": "held out"}) == "cannot tell"


@pytest.mark.parametrize("unsaid", [{"epochs": None}, {"training_images": None}])
def test_what_we_cut_is_too_far_where_the_source_leaves_out_how_long_it_trained(unsaid) -> None:
    """One of 100 epochs on all images has as many images as the source: that says nothing."""
    silent = MEASURED | unsaid
    (what,) = unsaid
    claims = [value(), exists(below=0.01)]
    for claim, (budget, command, cut) in itertools.product(
        claims,
        [
            ("small", FULL, "the study's budget 'small'"),
            (None, f"{FULL} --set trainer.num_epochs=1", "--set trainer.num_epochs=1"),
            (None, f"{FULL} --set=model.beta=2", "--set model.beta=2"),
            (None, f"{FULL} --set networks.width=8 --raw R", "--set networks.width=8"),
            (None, f"{FULL} --set dataset=other", "--set dataset=other"),
            (None, f"{FULL} --set engine.latent_noise=1", "--set engine.latent_noise=1"),
        ],
    ):
        made = study(a=[0.02], budget=budget, command=command)
        found = verdict(made, claim, command=command, measured=silent)
        assert found.verdict == "cannot tell" and cut in found.why
        assert f"many {what.removeprefix('training_')} it trained" in found.why
        # What the source says all of is counted, and a cut is no matter.
        assert verdict(made, claim, command=command).verdict == "not reproduced"


@pytest.mark.parametrize(
    "command",
    [
        FULL,
        f"{FULL} --set evaluation.samples=10",
        f"{FULL} --set tracking.mode=offline",
        f"{FULL} --set engine.precision=bf16",
        f"{FULL} --raw trainer.num_epochs=1",
    ],
)
def test_what_cuts_no_training_is_no_cut(command) -> None:
    silent = MEASURED | {"epochs": None}
    made = study(a=[0.02], budget=None, command=command)
    assert word(made, value(), command=command, measured=silent) == "not reproduced"


def test_the_command_that_closes_a_cut_cuts_nothing() -> None:
    asked = "--set evaluation.samples=10 --raw R"
    cut = f"{COMMAND} --set trainer.num_epochs=1 {asked} --set=model.beta=2"
    made = study(a=[0.02], command=cut)
    found = verdict(made, value(), command=cut, measured=MEASURED | {"epochs": None})
    assert found.command == f"{FULL} {asked}"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "not reproduced"),
        ({"engine.reduction": None}, "not reproduced"),
        ({"networks.width": 16}, "cannot tell"),
        ({"model.latent_dim": 10, "engine.reduction": None}, "cannot tell"),
    ],
)
def test_a_source_that_says_nothing_of_its_budget_leaves_ours_open(settings, expected) -> None:
    """Nor of the model, but what its loss weighs; else we cut what it would have said."""
    silent = MEASURED | {"epochs": None, "training_images": None}
    rows = ROWS | {"a": {"label": "A", "settings": settings}}
    made = study(a=[0.02])
    found = verdict(made, value(), measured=silent, rows=rows)
    assert found.verdict == expected
    assert ("budget 'small'" in found.why) == (expected == "cannot tell")
    uncut = made | {"budget": None}
    assert word(uncut, value(), measured=silent, rows=rows) == "not reproduced"
    # One that says the row's epochs says something.
    rows["a"]["epochs"] = 10
    assert word(made, value(), measured=silent, rows=rows) == "cannot tell"


NEAREST = {"nearest_budget": "paper"}


def test_the_command_that_settles_it_is_of_the_budget_nearest_to_the_source() -> None:
    for made, claim in (
        (study(a=[0.02], epochs=1), value()),
        (study(a=[0.1] * 3, b=[0.2] * 3, epochs=1), order(direction="higher")),
        (study(a=[0.1], b=[0.2]), order()),
        (study(a=[0.1], b=[0.2]), exists(over={"row": "b"}, below=1.0)),
        (study(a=[(0.015, None)]), value()),
    ):
        assert verdict(made, claim).command == FULL
        near = verdict(made, claim, **NEAREST)
        assert (near.verdict, near.command) == ("cannot tell", f"{FULL} --budget paper")
        # The one that was run settles nothing more.
        assert verdict(made, claim, command=FULL).command is None
        assert verdict(made, claim, command=near.command, **NEAREST).command is None
    found = verdict(study(b=[0.1]), value(), **NEAREST)
    assert (found.verdict, found.command) == ("open", f"{FULL} --budget paper")


def test_what_more_seeds_would_not_settle_has_no_command() -> None:
    undecided = study(a=[0.1, 0.3, 0.2], b=[0.2, 0.1, 0.3])
    assert verdict(undecided, order(), **NEAREST).command is None
    other = verdict(study(a=[0.1]), value(), settings={"MSE": {"backbone": "VGG"}}, **NEAREST)
    assert (other.verdict, other.command) == ("cannot tell", None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"networks.width": 16}, "reproduced"),
        ({"networks.width": 128}, "cannot tell"),
        ({"networks.encoder": [512, 256], "model.latent_dim": 10}, "reproduced"),
        ({"networks.encoder": [1000]}, "cannot tell"),
        ({"model.latent_dim": 32}, "cannot tell"),
        # An engine's change that a config does not name was not made.
        ({"engine.reduction": None}, "reproduced"),
        ({"engine.reduction": "mean"}, "cannot tell"),
    ],
)
def test_networks_of_another_size_are_another_model(settings, expected) -> None:
    rows = ROWS | {"a": {"label": "A", "settings": settings}}
    assert word(study(a=[0.015]), value(), rows=rows) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (None, None, None),
        ("mean", "mean", None),
        ("mean", None, "engine.reduction is mean, the source's not set"),
        (None, "mean", "engine.reduction is not set, the source's mean"),
    ],
)
def test_a_change_of_the_loss_is_another_model(ours, theirs, told) -> None:
    made = study(a=[0.015])
    made["rows"][0]["cells"][0]["config"]["engine"] = {"reduction": ours}
    rows = ROWS | {"a": {"label": "A", "settings": {"engine.reduction": theirs}}}
    found = verdict(made, value(), rows=rows)
    assert found.verdict == ("cannot tell" if told else "reproduced")
    assert told is None or found.why == told


def test_a_row_may_have_been_trained_for_another_time() -> None:
    rows = ROWS | {"a": {"label": "A", "epochs": 100}}
    assert word(study(a=[0.015], epochs=10), value(), rows=rows) == "cannot tell"
    assert word(study(a=[0.015], epochs=60), value(), rows=rows) == "reproduced"


def test_what_only_the_sources_code_says_is_told_as_such() -> None:
    rows = ROWS | {"a": {"label": "A", "epochs": 100, "basis": "computed"}}
    found = verdict(study(a=[0.015]), value(), rows=rows)
    assert "; epochs as its code had them)" in found.why
    rows = ROWS | {"a": {"label": "A", "settings": {"networks.width": 8}, "basis": "computed"}}
    found = verdict(study(a=[0.015]), value(), rows=rows)
    assert found.why == "networks.width is 16, the source's 8 as its code had it"


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
