"""The verdict on each claim of a source, from a study's record alone, by the rule in `rule`."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from evaluate.claims.alike import another_metric
from evaluate.claims.command import nearest
from evaluate.claims.comparable import obstacles
from evaluate.claims.measured import Absent, Number, find_row, look_up
from evaluate.claims.outcome import Outcome
from evaluate.claims.schema import (
    Claim,
    Exists,
    Figure,
    Measurable,
    Order,
    Reference,
    SourceRow,
    Trend,
    Value,
    Word,
    rows_of,
)
from evaluate.claims.ways import (
    Place,
    bound_words,
    centre,
    choices,
    judge_way,
    places,
    shown,
    without_unsaid,
)
from evaluate.formats import format_number

Judged = Literal[
    "reproduced", "not reproduced", "differs in definition", "cannot tell", "drawn", "open"
]
_WAYS = ("as defined here", "as published there")


@dataclass(frozen=True)
class Verdict:
    """A claim, the word, and what it rests on. `numbers` is (low, number, high) each, theirs and
    ours, of a value that both have, in `metric` and with `sampler`."""

    claim: Claim
    verdict: Judged
    ours: str
    why: str
    command: str | None = None
    theirs: str = ""
    metric: str | None = None
    sampler: str | None = None
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
    if isinstance(claim, Figure):
        return _figure(record, reference, claim, command)
    judged = {
        sampler: replace(_with_sampler(record, reference, chosen, command), claim=claim)
        for sampler, chosen in choices(claim)
    }
    verdict = _of_samplers(judged)
    if known := without_unsaid(claim):
        # Whatever its other samples were drawn with: what fails against the known ones fails.
        of_known = _with_sampler(record, reference, known, command)
        if verdict.verdict == "cannot tell" and of_known.verdict == "not reproduced":
            why = f"against the rows whose sampler it says: {of_known.why}"
            return replace(of_known, claim=claim, ours=verdict.ours, why=why)
    return verdict


def _figure(record: dict[str, Any], reference: Reference, claim: Figure, command: str) -> Verdict:
    """A picture is for people to judge: whether there is one of ours, and in which files."""
    for name in claim.rows:
        row = find_row(record, name)
        if row is None or all(cell.get("metrics") is None for cell in row["cells"]):
            label = row["label"] if row else reference.rows[name].label
            closes = command if row else nearest(command, reference.nearest_budget)
            return Verdict(claim, "open", "", f"{label}, which it shows, is not measured", closes)
    for made in record.get("figures") or []:
        if made["name"] == claim.figure and made["files"]:
            files = made["files"]
            ours = files[0] if len(files) == 1 else f"{len(files)} pictures"
            why = f"for people to judge, in {', '.join(files)}"
            if barred := claim.rows and obstacles(record, reference, claim.rows):
                why += f" (although {'; '.join(barred)})"
            return Verdict(claim, "drawn", ours, why)
    return Verdict(claim, "open", "", f"the figure '{claim.figure}' is not drawn", command)


def _of_samplers(judged: dict[str | None, Verdict]) -> Verdict:
    """The source does not say how it drew: the sampler with which its claim comes out."""
    verdicts = list(judged.values())
    if len(verdicts) == 1:
        return verdicts[0]
    ours = "; ".join(f"{name}: {v.ours}" for name, v in judged.items() if v.ours)
    for word in ("reproduced", "differs in definition"):
        names = [f"'{name}'" for name, v in judged.items() if v.verdict == word]
        if names:
            best = next(v for v in verdicts if v.verdict == word)
            drawn = f"with samples by {' and by '.join(names)}; the source does not say which"
            why = f"{best.why} ({drawn})"
            return replace(best, ours=ours, why=why)
    for verdict in verdicts:
        if verdict.verdict == "open":
            return replace(verdict, ours=ours)
    first, whys = verdicts[0], [v.why for v in verdicts]
    if {v.verdict for v in verdicts} == {"cannot tell"} and len(set(whys)) == 1:
        return replace(first, ours=ours)
    told = "; ".join(f"by '{name}', {v.why}" for name, v in judged.items())
    why = f"the source does not say how its codes were drawn: {told}"
    return replace(first, verdict="cannot tell", ours=ours, why=why)


def _with_sampler(
    record: dict[str, Any], reference: Reference, claim: Measurable, command: str
) -> Verdict:
    """As defined, and as published where the source computed the metric otherwise."""
    ways = [places(claim, published=False)]
    if claim.as_published is not None:
        ways.append(places(claim, published=True))
    closes = nearest(command, reference.nearest_budget)
    found = [_all_of(record, way, command, closes) for way in ways]
    ours = _shown(claim, found)
    known = []
    for numbers in found:
        if isinstance(numbers, Absent):
            return Verdict(claim, "open", ours, numbers.why, numbers.command)
        known.append(numbers)
    over = {number.over for numbers in known for number in numbers}
    barred = obstacles(record, reference, rows_of(claim), over)
    outcomes = [_way(reference, claim, numbers, barred) for numbers in known]
    word, why = _together(claim, outcomes)
    if barred and not isinstance(claim, Value):
        told = "; ".join(barred)
        why += f" (although {told})" if word == "reproduced" else f"; {told}"
    helps = bool(barred) or any(outcome.few for outcome in outcomes)
    other = word == "cannot tell" and helps and closes != command
    verdict = Verdict(claim, word, ours, why, closes if other else None)
    if not isinstance(claim, Value):
        return verdict
    # Of two, the one that comes out; the published one where neither or both do.
    inside = [outcome.word == "reproduced" for outcome in outcomes]
    which = inside.index(True) if inside.count(True) == 1 else len(inside) - 1
    number = known[which][0]
    low, high = claim.within
    pair = ((low, centre(claim), high), (number.low, number.mean, number.high))
    _, sampler, metric = ways[which][0]
    return replace(verdict, metric=metric, sampler=sampler, numbers=pair)


def _all_of(
    record: dict[str, Any], way: list[Place], command: str, closes: str
) -> list[Number] | Absent:
    numbers = []
    for row, sampler, key in way:
        number = look_up(record, row, sampler, key, command, closes)
        if isinstance(number, Absent):
            return number
        numbers.append(number)
    return numbers


def _shown(claim: Measurable, found: list[list[Number] | Absent]) -> str:
    told = [shown(claim, numbers) if isinstance(numbers, list) else "" for numbers in found]
    if len(told) == 1:
        return told[0]
    names = ("as defined", "as published")
    return "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True) if text)


def _way(
    reference: Reference, claim: Measurable, numbers: list[Number], barred: list[str]
) -> Outcome:
    """A run that is unlike the source's may confirm a trend, an order or a bound, not refute it;
    of a number it says nothing."""
    if other := another_metric(numbers, {**reference.settings, **claim.settings}):
        return Outcome("cannot tell", other)
    if barred and isinstance(claim, Value):
        return Outcome("cannot tell", "; ".join(barred))
    outcome = judge_way(claim, numbers)
    if barred and outcome.word == "not reproduced":
        outcome = replace(outcome, word="cannot tell")
    few = any(len(number.values) == 1 for number in numbers)
    return replace(outcome, few=few and outcome.word == "cannot tell")


def _together(claim: Measurable, outcomes: list[Outcome]) -> tuple[Judged, str]:
    """Of both definitions; what one of them leaves open no word on both can settle."""
    words, whys = [o.word for o in outcomes], [o.why for o in outcomes]
    if len(outcomes) == 1:
        return words[0], whys[0]
    told = "; ".join(f"{way}, {why}" for way, why in zip(_WAYS, whys, strict=True))
    if set(words) == {"reproduced", "not reproduced"}:
        yes, no = _WAYS if words[0] == "reproduced" else _WAYS[::-1]
        tests = "" if isinstance(claim, Value) else f" ({told})"
        return "differs in definition", f"it comes out {yes}, but not {no}{tests}"
    word: Judged = words[0] if words[0] == words[1] else "cannot tell"
    if whys[0] == whys[1]:
        return word, whys[0] + (f", {' and '.join(_WAYS)}" if word == "reproduced" else "")
    return word, told


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
    if isinstance(claim, Figure):
        return "shown"
    # The source says it in words; the bound is ours.
    return f"said (taken as {bound_words(claim)})" if isinstance(claim, Exists) else "said"
