"""Verdicts and how far our runs are from the source's: what cannot be told, and what settles it."""

import itertools

import pytest

from tests.made_claims import (
    COMMAND,
    FULL,
    MEASURED,
    ROWS,
    exists,
    order,
    study,
    value,
    verdict,
    word,
)


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
            (None, f"{FULL} --set model.beta=2", "--set model.beta=2"),
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
    cut = f"{COMMAND} --set trainer.num_epochs=1 {asked} --set model.beta=2"
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
