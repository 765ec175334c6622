"""Whether numbers under one key are one metric, among ours and against the source's settings."""

from collections.abc import Sequence
from typing import Any

from evaluate.claims.measured import Number
from evaluate.claims.schema import MetricSettings


def another_metric(numbers: Sequence[Number], wanted: MetricSettings) -> str | None:
    """Why numbers of a claim are not what its source measured, or not all the same; else None."""
    for number in numbers:
        for measured in number.measured:
            settings = measured["settings"] or {}
            for name, theirs in wanted.get(number.key, {}).items():
                if settings.get(name) != theirs:
                    ours = settings.get(name, "not recorded")
                    return f"{number.key}: {name} is {ours}, the source's {theirs}"
    return _unlike(numbers)


def _unlike(numbers: Sequence[Number]) -> str | None:
    """Seeds, or rows, that were not measured alike; each key for itself."""
    first: dict[str, tuple[str, dict[str, Any]]] = {}
    for number in numbers:
        for measured in number.measured:
            label, before = first.setdefault(number.key, (number.label, measured))
            if measured != before:
                what, ours, other = _difference(before, measured)
                return (
                    f"{number.key} was not measured alike: its {what} {_of(label, ours)} and "
                    f"{_of(number.label, other)}"
                )
    return None


def _of(label: str, value: Any) -> str:
    return f"{'none' if value is None else value} ({label})"


def _difference(one: dict[str, Any], two: dict[str, Any]) -> tuple[str, Any, Any]:
    """What differs: a setting of that name where it is one, for a title only repeats it."""
    own, other = one["settings"] or {}, two["settings"] or {}
    for name in {**own, **other}:
        if own.get(name) != other.get(name):
            return name, own.get(name), other.get(name)
    name = next(name for name in {**one, **two} if one.get(name) != two.get(name))
    return name, one.get(name), two.get(name)
