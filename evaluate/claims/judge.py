"""The verdict on each claim of a source, from a study's record alone, by the rule in `RULE`."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from evaluate.claims.comparable import obstacles
from evaluate.claims.measured import (
    Absent,
    Number,
    look_up,
    without_budget,
)
from evaluate.claims.over_seeds import LEVEL, Outcome, judge_order, judge_trend
from evaluate.claims.schema import (
    Claim,
    Exists,
    Order,
    Reference,
    SourceRow,
    Trend,
    Value,
    Word,
    rows_of,
)
from evaluate.formats import format_number
from evaluate.statistics import seed_interval

Word5 = Literal["reproduced", "not reproduced", "differs in definition", "cannot tell", "open"]
# An interval wider than this share of the source's number would hold nearly anything.
VAGUE = 0.5
RULE = (
    "Our interval is, with several seeds, the 95 % t-interval of the mean over seeds; with one "
    "seed (n = 1), the 95 % bootstrap interval over images; where there is neither, the number "
    "alone.",
    "**reproduced**: a number of ours whose interval meets the source's number widened by its "
    "rounding (half a unit of its last decimal; a whole one where it says 'about'); a trend over "
    f"rows, or one row better than others, that a test over seeds shows at p ≤ {LEVEL:g}; a bound "
    "that our whole interval keeps.",
    "**not reproduced**: our interval does not meet it; the test shows the contrary at p ≤ "
    f"{LEVEL:g}; our whole interval is beyond the bound.",
    "**differs in definition**: the source computed a number otherwise than its name says, and "
    "either as defined here or as published there it comes out, but not both: both are shown. "
    "Where both come out it is reproduced, where neither does, not.",
    "**cannot tell**: our run is too far from the source's, where the source says what its was: "
    "training examples seen (training images x epochs) less than half or more than twice the "
    "source's, another image size, another split, other sizes of networks or weights of the loss; "
    "or a smaller budget of our study where the source does not say how long it trained. "
    "Then a number is not judged at all, and a trend, an order or a bound may be reproduced, which "
    "the reason says, but is never 'not reproduced'. Also where our interval meets the source's "
    f"number but is wider than {VAGUE:g} of it, where an interval lies on both sides of a bound, "
    "and where a trend or an order has fewer than two seeds a row or its test decides neither way.",
    "**open**: a run (any seed of one), weights or a measure are missing, said with the command "
    "that closes it where there is one.",
    "The tests over seeds are the exact permutation test of two means and, for a trend, "
    "Jonckheere and Terpstra's. A row that is to be better than several has to be so in each "
    "single test; that it is not is tested over all of them after Simes.",
)


@dataclass(frozen=True)
class Verdict:
    """A claim, the word, and what it rests on. `numbers` is (low, number, high) each, theirs and
    ours, of a value that both have, in `metric`."""

    claim: Claim
    verdict: Word5
    ours: str
    why: str
    command: str | None = None
    theirs: str = ""
    metric: str | None = None
    numbers: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


def judge(record: dict[str, Any] | None, reference: Reference, command: str) -> list[Verdict]:
    """A verdict on every claim of `reference`, in its order, none left out.

    `record` is what `evaluate.record.read_record` gives of the study, or None where it was never
    run; `command` is what makes it.
    """
    return [
        replace(_verdict(record, reference, claim, command), theirs=theirs(claim, reference.rows))
        for claim in reference.claims
    ]


def _verdict(
    record: dict[str, Any] | None, reference: Reference, claim: Claim, command: str
) -> Verdict:
    if isinstance(claim, Word):
        return Verdict(claim, "open", "", f"no measure or run yet: {claim.open}")
    if record is None:
        return Verdict(claim, "open", "", "the study has not been run", command)
    barred = obstacles(record, reference, rows_of(claim))
    if isinstance(claim, Value):
        return _value(record, claim, command, barred)
    if isinstance(claim, Trend):
        return _trend(record, claim, command, barred)
    if isinstance(claim, Order):
        return _order(record, claim, command, barred)
    return _exists(record, claim, command, barred)


def _barred(claim: Claim, ours: str, barred: list[str], command: str, before: str = "") -> Verdict:
    """Too far from the source's run; the study without its budget may be nearer."""
    full = without_budget(command)
    why = before + "; ".join(barred)
    return Verdict(claim, "cannot tell", ours, why, full if full != command else None)


def _open(claim: Claim, absent: Absent, ours: str = "") -> Verdict:
    return Verdict(claim, "open", ours, absent.why, absent.command)


def _meets(number: Number, low: float, high: float) -> bool:
    """Whether the interval meets [low, high], ends included; 0.0155 is no whole float."""
    slack = 1e-9 * max(abs(low), abs(high))
    return number.low <= high + slack and number.high >= low - slack


def _value(record: dict[str, Any], claim: Value, command: str, barred: list[str]) -> Verdict:
    keys = [claim.metric] + ([claim.as_published] if claim.as_published else [])
    found = [look_up(record, claim.row, claim.sampler, key, command) for key in keys]
    shown = _shown(found)
    for number in found:
        if isinstance(number, Absent):
            return _open(claim, number, shown)
    numbers = [number for number in found if isinstance(number, Number)]
    low, high = claim.within
    inside = [_meets(number, low, high) for number in numbers]
    # Of two, the one that comes out; the published one where neither or both do.
    which = inside.index(True) if inside.count(True) == 1 else len(inside) - 1
    centre = claim.number if claim.number is not None else (low + high) / 2
    number = numbers[which]
    pair = ((low, centre, high), (number.low, number.mean, number.high))
    if barred:
        verdict = _barred(claim, shown, barred, command)
    else:
        word, why = _value_word(inside, number, centre)
        verdict = Verdict(claim, word, shown, why)
    return replace(verdict, metric=keys[which], numbers=pair)


def _value_word(inside: list[bool], number: Number, centre: float) -> tuple[Word5, str]:
    if not any(inside):
        return "not reproduced", "our interval does not meet the source's number and its rounding"
    if number.high - number.low > VAGUE * abs(centre):
        return "cannot tell", (
            f"our interval meets it, but is wider than {VAGUE:g} of the source's number"
        )
    if not all(inside):
        way = ("as defined here", "as published there")
        yes, no = way if inside[0] else way[::-1]
        return "differs in definition", f"it comes out {yes}, but not {no}"
    both = ", as defined here and as published there" if len(inside) > 1 else ""
    return "reproduced", f"our interval meets the source's number and its rounding{both}"


def _shown(found: list[Number | Absent]) -> str:
    if len(found) == 1:
        return str(found[0]) if isinstance(found[0], Number) else ""
    names = ("as defined", "as published")
    return "; ".join(
        f"{name} {number}"
        for name, number in zip(names, found, strict=True)
        if isinstance(number, Number)
    )


def _settle(claim: Claim, outcome: Outcome, ours: str, command: str, barred: list[str]) -> Verdict:
    """Trends, orders and bounds: a run that is unlike the source's may confirm, not refute."""
    if barred and outcome.word != "reproduced":
        return _barred(claim, ours, barred, command, f"{outcome.why}; ")
    why = outcome.why
    if barred:
        why += f" (although {'; '.join(barred)})"
    return Verdict(claim, outcome.word, ours, why)


def _all_of(
    record: dict[str, Any], points: list[tuple[str, str | None]], metric: str, command: str
) -> list[Number] | Absent:
    numbers = []
    for row, sampler in points:
        number = look_up(record, row, sampler, metric, command)
        if isinstance(number, Absent):
            return number
        numbers.append(number)
    return numbers


def _trend(record: dict[str, Any], claim: Trend, command: str, barred: list[str]) -> Verdict:
    points = [(row, claim.sampler) for row in claim.rows]
    numbers = _all_of(record, points, claim.metric, command)
    if isinstance(numbers, Absent):
        return _open(claim, numbers)
    outcome = judge_trend([list(number.values) for number in numbers], claim.direction)
    ours = " → ".join(format_number(number.mean) for number in numbers) + _seeds(numbers)
    return _settle(claim, outcome, ours, command, barred)


def _order(record: dict[str, Any], claim: Order, command: str, barred: list[str]) -> Verdict:
    points = [(claim.row, claim.sampler)] + [(p.row, p.sampler) for p in claim.than]
    numbers = _all_of(record, points, claim.metric, command)
    if isinstance(numbers, Absent):
        return _open(claim, numbers)
    first, *others = [list(number.values) for number in numbers]
    outcome = judge_order(first, others, claim.direction)
    against = ", ".join(format_number(number.mean) for number in numbers[1:])
    ours = f"{format_number(numbers[0].mean)} against {against}" + _seeds(numbers)
    return _settle(claim, outcome, ours, command, barred)


def _seeds(numbers: list[Number]) -> str:
    counts = sorted({len(number.values) for number in numbers})
    many = " or ".join(str(count) for count in counts)
    return f" (n = {many})"


def _exists(record: dict[str, Any], claim: Exists, command: str, barred: list[str]) -> Verdict:
    number = look_up(record, claim.row, claim.sampler, claim.metric, command)
    if isinstance(number, Absent):
        return _open(claim, number)
    if claim.over:
        row, metric = claim.over.row or claim.row, claim.over.metric or claim.metric
        under = look_up(record, row, claim.sampler, metric, command)
        if isinstance(under, Absent):
            return _open(claim, under)
        ratio = _ratio(number, under, claim.over.scale)
        if ratio is None:
            why = "the ratio has no value: it would be over 0, or over another number of seeds"
            return _settle(claim, Outcome("cannot tell", why), "", command, barred)
        number = ratio
    return _settle(claim, _bound(number, claim), str(number), command, barred)


def _ratio(number: Number, under: Number, scale: float) -> Number | None:
    """Seed by seed; with one seed there is no interval of a ratio."""
    if len(number.values) != len(under.values) or 0 in under.values:
        return None
    pairs = zip(number.values, under.values, strict=True)
    values = tuple(scale * a / b for a, b in pairs)
    return Number(values, seed_interval(values) if len(values) > 1 else None)


def _bound(number: Number, claim: Exists) -> Outcome:
    below = float("inf") if claim.below is None else claim.below
    above = float("-inf") if claim.above is None else claim.above
    if number.high < below and number.low > above:
        return Outcome("reproduced", f"all of our interval is {bound_words(claim)}")
    if number.low >= below or number.high <= above:
        return Outcome("not reproduced", f"none of our interval is {bound_words(claim)}")
    return Outcome("cannot tell", f"our interval is only in part {bound_words(claim)}")


def bound_words(claim: Exists) -> str:
    """`below 0.1`."""
    words = [("above", claim.above), ("below", claim.below)]
    return " and ".join(f"{word} {value:g}" for word, value in words if value is not None)


def theirs(claim: Claim, rows: dict[str, SourceRow]) -> str:
    """What the source says, as short as a cell."""
    if isinstance(claim, Value):
        if claim.number is None or claim.decimals is None:
            return f"{claim.low:g} to {claim.high:g}"
        about = "about " if claim.approx else ""
        return about + format_number(claim.number, claim.decimals)
    if isinstance(claim, Trend):
        return claim.direction
    if isinstance(claim, Order):
        many = len(claim.than)
        others = f"{many} others" if many > 1 else rows[claim.than[0].row].label
        return f"{rows[claim.row].label} {claim.direction} than {others}"
    return bound_words(claim) if isinstance(claim, Exists) else "said"
