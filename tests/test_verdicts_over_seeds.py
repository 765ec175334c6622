"""Verdicts on trends, orders and bounds: known ones, just inside and just outside each rule."""

import pytest

from evaluate.claims import over_seeds
from tests.made_claims import FULL, exists, order, study, trend, verdict, word

# --- trends and orders ---------------------------------------------------------------------------


def seeds(*means: float) -> dict[str, list[float]]:
    """Rows a, b, c with three seeds each, near these means."""
    return {row: [mean - 0.001, mean, mean + 0.001] for row, mean in zip("abc", means, strict=True)}


@pytest.mark.parametrize(
    ("direction", "means", "expected"),
    [
        ("rises", (0.1, 0.2, 0.3), "reproduced"),
        ("falls", (0.1, 0.2, 0.3), "not reproduced"),
        ("falls", (0.3, 0.2, 0.1), "reproduced"),
        ("rises", (0.3, 0.2, 0.1), "not reproduced"),
        ("rises", (0.2, 0.2, 0.2), "cannot tell"),
        ("falls", (0.1, 0.3, 0.1), "cannot tell"),
    ],
)
def test_trends_are_tested_over_seeds(direction, means, expected) -> None:
    found = verdict(study(**seeds(*means)), trend(direction))
    assert found.verdict == expected and "p = " in found.why


@pytest.mark.parametrize(
    ("a", "b", "c", "than", "expected"),
    [
        (0.1, 0.2, 0.3, "b", "reproduced"),
        (0.2, 0.1, 0.3, "b", "not reproduced"),
        (0.1, 0.1, 0.3, "b", "cannot tell"),
        (0.1, 0.2, 0.3, "bc", "reproduced"),
        (0.3, 0.2, 0.1, "bc", "not reproduced"),
        # Better than one, worse than the other: three seeds do not show it after correction.
        (0.2, 0.1, 0.3, "bc", "cannot tell"),
    ],
)
def test_orders_are_tested_over_seeds(a, b, c, than, expected) -> None:
    made = study(**seeds(a, b, c))
    assert word(made, order(*than)) == expected
    other_way = {"reproduced": "not reproduced", "not reproduced": "reproduced"}
    if len(than) == 1:
        assert word(made, order(*than, direction="higher")) == other_way.get(expected, expected)


def test_one_row_that_is_better_refutes_best_of_all_with_seeds_enough() -> None:
    many = {"a": [0.2 + n / 1e4 for n in range(6)], "b": [0.1 + n / 1e4 for n in range(6)]}
    made = study(**many, c=[0.3 + n / 1e4 for n in range(6)])
    assert word(made, order("b", "c")) == "not reproduced"


@pytest.mark.parametrize("claim", [trend(), order()])
def test_one_seed_decides_no_trend_and_no_order(claim) -> None:
    found = verdict(study(a=[0.1], b=[0.2], c=[0.3]), claim)
    assert found.verdict == "cannot tell" and "one seed a row" in found.why


def test_two_seeds_a_row_are_too_few_for_an_order_but_may_show_a_trend() -> None:
    made = study(a=[0.10, 0.11], b=[0.20, 0.21], c=[0.30, 0.31])
    assert word(made, order()) == "cannot tell"  # 1/6 at the least
    assert word(made, trend()) == "reproduced"  # 1/90


@pytest.mark.parametrize(
    ("claimed", "contrary", "expected"),
    [
        (0.05, 1.0, "reproduced"),
        (0.0501, 0.9, "cannot tell"),
        (0.9, 0.0501, "cannot tell"),
        (1.0, 0.05, "not reproduced"),
        (None, None, "cannot tell"),
    ],
)
def test_the_level_of_both_tests(monkeypatch, claimed, contrary, expected) -> None:
    made = study(**seeds(0.1, 0.2, 0.3))

    def trend_test(groups):
        return None if claimed is None else (claimed, contrary)

    def order_test(a, b):
        return claimed if a[0] < b[0] else contrary

    monkeypatch.setattr(over_seeds, "trend_test", trend_test)
    monkeypatch.setattr(over_seeds, "order_test", order_test)
    assert word(made, trend()) == expected
    assert word(made, order()) == expected


@pytest.mark.parametrize(
    ("ps", "p"), [([0.05], 0.05), ([0.01, 0.9], 0.02), ([0.05, 0.05], 0.05), ([0.5, 0.4], 0.5)]
)
def test_simes(ps, p) -> None:
    assert over_seeds.simes(ps) == pytest.approx(p)


@pytest.mark.parametrize("claim", [trend(), order(), exists(below=0.15)])
def test_a_small_budget_may_confirm_what_is_no_number_but_not_refute_it(claim) -> None:
    confirmed = verdict(study(**seeds(0.1, 0.2, 0.3), epochs=1), claim)
    assert confirmed.verdict == "reproduced"
    assert "(although 0.1 times the source's training" in confirmed.why
    against = study(**seeds(0.3, 0.2, 0.1), epochs=1)
    refuted = verdict(against, claim)
    assert refuted.verdict == "cannot tell" and refuted.command == FULL
    whole = study(**seeds(0.3, 0.2, 0.1))
    assert word(whole, claim) == "not reproduced"


# --- bounds and ratios ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "bounds", "expected"),
    [
        (0.0999, {"below": 0.1}, "reproduced"),
        (0.1, {"below": 0.1}, "not reproduced"),
        (0.1001, {"above": 0.1}, "reproduced"),
        (0.1, {"above": 0.1}, "not reproduced"),
        ((0.09, [0.08, 0.0999]), {"below": 0.1}, "reproduced"),
        ((0.09, [0.08, 0.1]), {"below": 0.1}, "cannot tell"),
        ((0.11, [0.0999, 0.12]), {"below": 0.1}, "cannot tell"),
        ((0.11, [0.1, 0.12]), {"below": 0.1}, "not reproduced"),
        (1.0, {"above": 0.8, "below": 1.25}, "reproduced"),
        (1.3, {"above": 0.8, "below": 1.25}, "not reproduced"),
        ((1.2, [1.1, 1.3]), {"above": 0.8, "below": 1.25}, "cannot tell"),
    ],
)
def test_bounds(ours, bounds, expected) -> None:
    assert word(study(a=[ours]), exists(**bounds)) == expected


def test_a_bound_over_seeds_takes_the_interval_of_their_mean() -> None:
    close = [0.05, 0.06, 0.07]
    assert word(study(a=close), exists(below=0.1)) == "reproduced"
    assert word(study(a=[0.01, 0.06, 0.11]), exists(below=0.1)) == "cannot tell"


def test_a_ratio_of_two_metrics_is_taken_seed_by_seed() -> None:
    # Each seed has the ratio 10 exactly, though the metrics themselves vary much.
    made = study(a=[{"BCE": s, "KL": s * 78.4} for s in (0.1, 0.2, 0.4)])
    over = {"metric": "KL", "scale": 784.0}
    assert word(made, exists(metric="BCE", over=over, above=9.99)) == "reproduced"
    assert word(made, exists(metric="BCE", over=over, above=10.01)) == "not reproduced"


def test_a_ratio_of_two_rows() -> None:
    made = study(a=[0.009, 0.018], b=[0.01, 0.02])
    assert word(made, exists(over={"row": "b"}, above=0.89, below=0.91)) == "reproduced"
    assert word(made, exists(over={"row": "b"}, below=0.899)) == "not reproduced"
    zero = study(a=[0.1, 0.1], b=[0.0, 0.1])
    assert word(zero, exists(over={"row": "b"}, below=1.0)) == "cannot tell"
    assert word(study(a=[0.1]), exists(over={"row": "b"}, below=1.0)) == "open"
