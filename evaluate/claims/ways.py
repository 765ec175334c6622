"""The ways in which a claim is judged: as defined or as published, with each likely sampler."""

from collections.abc import Sequence

from evaluate.claims.measured import Number
from evaluate.claims.outcome import Outcome
from evaluate.claims.over_seeds import judge_order, judge_trend
from evaluate.claims.schema import Exists, Measurable, Order, Trend, Value, unsaid_samplers
from evaluate.formats import format_number
from evaluate.statistics import seed_interval

# An interval wider than this share of the source's number would hold nearly anything.
VAGUE = 0.5
_BARE = "one seed, and no interval over images: it is one number of the whole split, or a ratio"
# Row, sampler (None: reconstructions) and key of a metric.
Place = tuple[str, str | None, str]


def choices(claim: Measurable) -> list[tuple[str | None, Measurable]]:
    """The claim with each sampler that the source may have drawn with; one, where it says which."""
    made: list[tuple[str | None, Measurable]] = []
    for name in unsaid_samplers(claim):
        update: dict[str, object] = {}
        if isinstance(claim.sampler, list):
            update["sampler"] = name
        if isinstance(claim, Order):
            update["than"] = [
                point.model_copy(update={"sampler": name})
                if isinstance(point.sampler, list)
                else point
                for point in claim.than
            ]
        made.append((name, claim.model_copy(update=update)))
    return made or [(None, claim)]


def without_unsaid(claim: Measurable) -> Order | None:
    """An order over those rows alone whose sampler the source says; None where that is no part."""
    if not isinstance(claim, Order) or isinstance(claim.sampler, list):
        return None
    than = [point for point in claim.than if not isinstance(point.sampler, list)]
    return claim.model_copy(update={"than": than}) if 0 < len(than) < len(claim.than) else None


def places(claim: Measurable, published: bool) -> list[Place]:
    """What a claim with one sampler looks up; first its own number."""
    key = (claim.as_published if published else None) or claim.metric
    sampler = _one(claim.sampler)
    if isinstance(claim, Trend):
        return [(row, sampler, key) for row in claim.rows]
    found = [(claim.row, sampler, key)]
    if isinstance(claim, Order):
        for point in claim.than:
            own = point.as_published if published and point.as_published else key
            found.append((point.row, _one(point.sampler), own))
    if isinstance(claim, Exists) and claim.over:
        under = claim.over.metric or claim.metric
        if published:
            under = claim.over.as_published or claim.over.metric or key
        found.append((claim.over.row or claim.row, sampler, under))
    return found


def _one(sampler: str | list[str] | None) -> str | None:
    assert not isinstance(sampler, list), "`choices` settles which"
    return sampler


def shown(claim: Measurable, numbers: Sequence[Number]) -> str:
    """What there is of ours, as short as a cell."""
    if isinstance(claim, Trend):
        return " → ".join(format_number(number.mean) for number in numbers) + _seeds(numbers)
    if isinstance(claim, Order):
        against = ", ".join(format_number(number.mean) for number in numbers[1:])
        return f"{format_number(numbers[0].mean)} against {against}" + _seeds(numbers)
    if isinstance(claim, Exists) and claim.over:
        ratio = _ratio(numbers[0], numbers[1], claim.over.scale)
        return str(ratio) if ratio else ""
    return str(numbers[0])


def _seeds(numbers: Sequence[Number]) -> str:
    counts = sorted({len(number.values) for number in numbers})
    many = " or ".join(str(count) for count in counts)
    return f" (n = {many})"


def judge_way(claim: Measurable, numbers: Sequence[Number]) -> Outcome:
    """Of the numbers at `places`, whatever else speaks against comparing them."""
    if isinstance(claim, Value):
        return _value(claim, numbers[0])
    if isinstance(claim, Exists):
        return _exists(claim, numbers)
    groups = [list(number.values) for number in numbers]
    if isinstance(claim, Trend):
        return judge_trend(groups, claim.direction)
    return judge_order(groups[0], groups[1:], claim.direction)


def _value(claim: Value, number: Number) -> Outcome:
    if number.interval is None:
        return Outcome("cannot tell", _BARE)
    low, high = claim.within
    # 0.0155 is no whole float.
    slack = 1e-9 * max(abs(low), abs(high))
    if number.low > high + slack or number.high < low - slack:
        why = "our interval does not meet the source's number and its rounding"
        return Outcome("not reproduced", why)
    if low - slack <= number.low and number.high <= high + slack:
        return Outcome("reproduced", "all of our interval lies within the source's rounding")
    if number.high - number.low > VAGUE * abs(centre(claim)):
        why = f"our interval meets it, but is wider than {VAGUE:g} of the source's number"
        return Outcome("cannot tell", why)
    return Outcome("reproduced", "our interval meets the source's number and its rounding")


def centre(claim: Value) -> float:
    """The source's number; of a range its middle."""
    return sum(claim.within) / 2 if claim.number is None else claim.number


def _exists(claim: Exists, numbers: Sequence[Number]) -> Outcome:
    number: Number | None = numbers[0]
    if claim.over:
        number = _ratio(numbers[0], numbers[1], claim.over.scale)
    if number is None:
        why = "the ratio has no value: it would be over 0, or over another number of seeds"
        return Outcome("cannot tell", why)
    if number.interval is None:
        return Outcome("cannot tell", _BARE)
    below = float("inf") if claim.below is None else claim.below
    above = float("-inf") if claim.above is None else claim.above
    if number.high < below and number.low > above:
        return Outcome("reproduced", f"all of our interval is {bound_words(claim)}")
    if number.low >= below or number.high <= above:
        return Outcome("not reproduced", f"none of our interval is {bound_words(claim)}")
    return Outcome("cannot tell", f"our interval is only in part {bound_words(claim)}")


def _ratio(number: Number, under: Number, scale: float) -> Number | None:
    """Seed by seed; with one seed there is no interval of a ratio."""
    if len(number.values) != len(under.values) or 0 in under.values:
        return None
    pairs = zip(number.values, under.values, strict=True)
    values = tuple(scale * a / b for a, b in pairs)
    return Number(values, seed_interval(values) if len(values) > 1 else None)


def bound_words(claim: Exists) -> str:
    """`below 0.1`."""
    words = [("above", claim.above), ("below", claim.below)]
    return " and ".join(f"{word} {value:g}" for word, value in words if value is not None)
