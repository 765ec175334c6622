"""Verdicts by two definitions, and with samplers that a source does not name."""

import pytest

from evaluate.claims.judge import judge
from tests.made_claims import (
    COMMAND,
    drawn,
    exists,
    measured,
    order,
    reference,
    study,
    trend,
    value,
    verdict,
    word,
)

# --- two definitions -----------------------------------------------------------------------------

BOTH = {"as_published": "MSE (as published)"}


def both(defined: float, published: float) -> list[dict]:
    made = [{"MSE": defined + n / 1e4} for n in range(3)]
    said = {"title": "MSE (as published)"}
    for n, of in enumerate(made):
        of["MSE (as published)"] = measured(published + n / 1e4, **said)
    return made


KINDS = {
    "trend": trend(rows=["a", "b"], **BOTH),
    "order": order(**BOTH),
    "bound": exists(below=0.15, **BOTH),
}


@pytest.mark.parametrize(
    ("defined", "published", "expected"),
    [
        ((0.1, 0.2), (0.1, 0.2), "reproduced"),
        ((0.1, 0.2), (0.2, 0.1), "differs in definition"),
        ((0.2, 0.1), (0.1, 0.2), "differs in definition"),
        ((0.2, 0.1), (0.2, 0.1), "not reproduced"),
        # Neither way for one of them: the two together settle nothing.
        ((0.1, 0.2), (0.15, 0.15), "cannot tell"),
        ((0.15, 0.15), (0.2, 0.1), "cannot tell"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_may_differ_in_definition(kind, defined, published, expected) -> None:
    pairs = list(zip(defined, published, strict=True))
    made = study(**{row: both(*pair) for row, pair in zip("ab", pairs, strict=True)})
    found = verdict(made, KINDS[kind])
    assert found.verdict == expected
    assert "as defined" in found.ours and "as published" in found.ours
    if expected == "differs in definition":
        assert found.why.startswith("it comes out as defined here") == (defined[0] < defined[1])


def test_a_run_unlike_the_sources_refutes_neither_definition() -> None:
    made = study(a=both(0.1, 0.2), b=both(0.2, 0.1), epochs=1)
    found = verdict(made, KINDS["order"])
    assert found.verdict == "cannot tell" and found.why.count("times the source's") == 1
    made = study(a=both(0.1, 0.1), b=both(0.2, 0.2), epochs=1)
    found = verdict(made, KINDS["order"])
    assert found.verdict == "reproduced" and found.why.count("(although 0.1 times") == 1


def test_a_definition_that_was_not_measured_leaves_a_trend_open() -> None:
    found = verdict(study(a=[0.1] * 3, b=[0.2] * 3), KINDS["trend"])
    assert found.verdict == "open" and "MSE (as published)" in found.why


def test_a_row_may_have_one_number_for_both_definitions() -> None:
    made = study(a=both(0.1, 0.3), b=[{"MSE": 0.2 + n / 1e4} for n in range(3)])
    assert word(made, order(**BOTH)) == "open"
    claim = order(**BOTH) | {"than": [{"row": "b", "as_published": "MSE"}]}
    assert word(made, claim) == "differs in definition"
    made = study(a=[{"MSE": 0.1}] * 3, b=both(0.1, 0.2))
    over = {"row": "b", "as_published": "MSE (as published)"}
    ratio = exists(over=over, as_published="MSE", above=0.9)
    assert word(made, ratio) == "differs in definition"


@pytest.mark.parametrize(
    ("defined", "published", "expected"),
    [
        # Half of the source's 0.015 is 0.0075: the second of each is wider.
        (0.0037, 0.0037, "reproduced"),
        (0.0037, 0.0038, "cannot tell"),
        (0.0038, 0.0037, "cannot tell"),
        (0.0038, 0.0038, "cannot tell"),
    ],
)
def test_each_of_two_intervals_may_be_too_wide(defined, published, expected) -> None:
    wide = [(0.015, [0.015 - half, 0.015 + half]) for half in (defined, published)]
    interval = wide[1][1]
    made = study(a=[{"MSE": wide[0], "MSE (as published)": measured(0.015, interval)}])
    assert word(made, value(**BOTH)) == expected


def test_a_wide_interval_is_no_number_that_comes_out_beside_one_that_does_not() -> None:
    off, wide = measured(0.5), (0.015, [0.0, 0.03])
    made = study(a=[{"MSE": wide, "MSE (as published)": off}])
    found = verdict(made, value(**BOTH))
    assert found.verdict == "cannot tell" and "wider than 0.5" in found.why
    made = study(a=[{"MSE": 0.5, "MSE (as published)": off}])
    assert word(made, value(**BOTH)) == "not reproduced"


# --- samplers that a source does not name --------------------------------------------------------

EITHER = ["uniform", "marginal"]


@pytest.mark.parametrize(
    ("uniform", "marginal", "expected", "told"),
    [
        (0.0145, 0.5, "reproduced", "by 'uniform';"),
        (0.5, 0.0155, "reproduced", "by 'marginal';"),
        (0.015, 0.015, "reproduced", "by 'uniform' and by 'marginal';"),
        (0.0144, 0.0156, "cannot tell", "does not say how its codes were drawn"),
    ],
)
def test_a_number_is_judged_with_each_likely_sampler(uniform, marginal, expected, told) -> None:
    made = study(a=[0.9])
    drawn(made, "a", "uniform", {"MSE": uniform})
    drawn(made, "a", "marginal", {"MSE": marginal})
    found = verdict(made, value(sampler=EITHER))
    assert found.verdict == expected and told in found.why
    assert found.ours.startswith("uniform: ") and "; marginal: " in found.ours
    if uniform == 0.5:
        assert found.sampler == "marginal" and found.numbers[1][1] == marginal


def test_a_likely_sampler_that_was_not_drawn_from_leaves_it_open() -> None:
    made = study(a=[0.9])
    drawn(made, "a", "uniform", {"MSE": 0.5})
    found = verdict(made, value(sampler=EITHER))
    assert found.verdict == "open" and "'marginal'" in found.why
    drawn(made, "a", "uniform", {"MSE": 0.015})
    assert word(made, value(sampler=EITHER)) == "reproduced"


def test_a_run_unlike_the_sources_is_told_once_for_both_samplers() -> None:
    made = study(a=[0.9], epochs=1)
    for sampler in EITHER:
        drawn(made, "a", sampler, {"MSE": 0.015})
    found = verdict(made, value(sampler=EITHER))
    assert found.verdict == "cannot tell" and found.why.count("times the source's") == 1


@pytest.mark.parametrize(
    ("uniform", "marginal", "expected"),
    [(0.2, 0.05, "reproduced"), (0.05, 0.2, "reproduced"), (0.05, 0.05, "cannot tell")],
)
def test_better_than_samples_however_they_were_drawn(uniform, marginal, expected) -> None:
    made = study(a=[0.9] * 3, b=[0.9] * 3)
    drawn(made, "a", "prior", *({"MSE": 0.1 + n / 1e4} for n in range(3)))
    for sampler, mean in zip(EITHER, (uniform, marginal), strict=True):
        drawn(made, "b", sampler, *({"MSE": mean + n / 1e4} for n in range(3)))
    than = {"than": [{"row": "b", "sampler": EITHER}]}
    assert word(made, order(sampler="prior") | than) == expected


@pytest.mark.parametrize(
    ("known", "unsaid", "expected"),
    [
        (0.05, 0.05, "not reproduced"),
        (0.05, 0.2, "not reproduced"),
        (0.1, 0.05, "cannot tell"),
        (0.2, 0.05, "cannot tell"),
        (0.2, 0.2, "reproduced"),
    ],
)
def test_what_fails_against_known_samples_fails_whatever_the_others_are(
    known, unsaid, expected
) -> None:
    seeds = range(6)
    made = study(**{row: [0.9] * 6 for row in "abc"})
    drawn(made, "a", "prior", *({"MSE": 0.1 + n / 1e4} for n in seeds))
    drawn(made, "c", "prior", *({"MSE": known + n / 1e4} for n in seeds))
    for sampler in EITHER:
        drawn(made, "b", sampler, *({"MSE": unsaid + n / 1e4} for n in seeds))
    than = [{"row": "c", "sampler": "prior"}, {"row": "b", "sampler": EITHER}]
    found = verdict(made, order(sampler="prior") | {"than": than})
    assert found.verdict == expected
    if expected == "not reproduced":
        assert found.why.startswith("against the rows whose sampler it says: ")


def test_a_verdict_is_of_the_claim_as_it_stands() -> None:
    source = reference(value(sampler=EITHER))
    made = study(a=[0.9])
    for sampler in EITHER:
        drawn(made, "a", sampler, {"MSE": 0.015})
    assert judge(made, source, COMMAND)[0].claim == source.claims[0]
