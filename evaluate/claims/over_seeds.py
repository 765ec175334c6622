"""Trends and orders, by tests over seeds (`evaluate.statistics`)."""

from evaluate.claims.outcome import Outcome
from evaluate.statistics import order_test, trend_test

# A test decides at this p and below; three seeds without overlap have 1/20 and no less.
LEVEL = 0.05


def judge_trend(groups: list[list[float]], direction: str) -> Outcome:
    """Whether values rise (or fall) from group to group; a group is a row's seeds."""
    few = _too_few(groups)
    tested = None if few else trend_test(groups)
    if tested is None:
        return Outcome("cannot tell", few or "the test over seeds cannot be made")
    rising, falling = tested
    claimed, contrary = (rising, falling) if direction == "rises" else (falling, rising)
    return _decide(claimed, contrary, f"trend test over seeds, {direction}")


def judge_order(own: list[float], others: list[list[float]], direction: str) -> Outcome:
    """Whether a row's mean is lower (or higher) than every other's.

    For it speaks the largest p of the single tests: each of them has to show it (an
    intersection-union test, Berger 1982, which needs no correction). Against it speaks that some
    other is better: Simes (1986) over the tests the other way.
    """
    few = _too_few([own, *others])
    if few:
        return Outcome("cannot tell", few)
    sign = 1.0 if direction == "lower" else -1.0
    signed = [sign * value for value in own]
    their = [[sign * value for value in other] for other in others]
    claimed = [order_test(signed, other) for other in their]
    contrary = [order_test(other, signed) for other in their]
    made = [p for p in claimed if p is not None]
    made_contrary = [p for p in contrary if p is not None]
    if len(made) < len(others) or len(made_contrary) < len(others):
        return Outcome("cannot tell", "the test over seeds cannot be made")
    words = f"test over seeds, {direction}"
    if len(others) > 1:
        words += f" than each of {len(others)}"
    return _decide(max(made), simes(made_contrary), words)


def simes(ps: list[float]) -> float:
    """p that not all of the hypotheses hold: min over i of m p_(i) / i."""
    return min(len(ps) * p / rank for rank, p in enumerate(sorted(ps), 1))


def _too_few(groups: list[list[float]]) -> str | None:
    least = min(len(group) for group in groups)
    return None if least > 1 else "one seed a row, and a test over seeds needs two at least"


def _decide(claimed: float, contrary: float, test: str) -> Outcome:
    if claimed <= LEVEL:
        return Outcome("reproduced", f"{test}: p = {claimed:.2g}")
    if contrary <= LEVEL:
        return Outcome("not reproduced", f"{test}: p = {claimed:.2g}; contrary: p = {contrary:.2g}")
    return Outcome(
        "cannot tell", f"{test}: p = {claimed:.2g}; contrary: p = {contrary:.2g}: neither decides"
    )
