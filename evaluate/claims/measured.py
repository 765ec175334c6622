"""What a study's record has of a claim's metric: values by seed and an interval, or why not."""

import re
from dataclasses import dataclass, field
from typing import Any

from evaluate.formats import format_number
from evaluate.registry import FINITE
from evaluate.statistics import seed_interval
from evaluate.training_terms import OF_TWO_EPOCHS

# What is said of a metric that tells two of one key apart.
_MEASURED = ("title", "definition", "settings")
_WEIGHTS = re.compile(r"[\w.-]+\.pth?\b")


@dataclass(frozen=True)
class Number:
    """Our number: its value with each seed, and an interval of 95 % (None where none is known).

    `measured` is how it was measured with each seed: what of it makes another number of it.
    """

    values: tuple[float, ...]
    interval: tuple[float, float] | None
    key: str = ""
    label: str = ""
    measured: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    # What it is of: `over` of its metric.
    over: str | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return sum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        """The interval's lower end; without one the number itself."""
        return self.interval[0] if self.interval else self.mean

    @property
    def high(self) -> float:
        """The interval's upper end; without one the number itself."""
        return self.interval[1] if self.interval else self.mean

    def __str__(self) -> str:
        ends = ", ".join(format_number(end) for end in self.interval or ())
        shown = format_number(self.mean) + (f" [{ends}]" if ends else "")
        return f"{shown} (n = {len(self.values)})"


@dataclass(frozen=True)
class Absent:
    """Why there is no number, and what would make one."""

    why: str
    command: str


def find_row(record: dict[str, Any], row: str) -> dict[str, Any] | None:
    """The record's row of that name."""
    return next((known for known in record["rows"] if known["name"] == row), None)


def look_up(
    record: dict[str, Any], row: str, sampler: str | None, key: str, command: str, closes: str
) -> Number | Absent:
    """A metric of a row's reconstructions, or of its samples, over all seeds of the study.

    `closes` is the command that has the rows that the one which was run leaves out.

    All of them or none: a mean over some of the seeds would change as others come in.
    """
    found = find_row(record, row)
    if found is None:
        if budget := record.get("budget"):
            why = f"the study's budget '{budget}' has no row '{row}'"
            return Absent(why, closes)
        why = f"the study has no row '{row}'"
        return Absent(why, f"add '{row}' to the study's runs, then {command}")
    undone = [str(cell["seed"]) for cell in found["cells"] if cell.get("metrics") is None]
    if undone or not found["cells"]:
        which = f"seed {', '.join(undone)}" if undone else "every seed"
        return Absent(f"{found['label']}: {which} is not trained and measured", command)
    abouts, measured = [], []
    for cell in found["cells"]:
        entry = cell if sampler is None else (cell.get("generations") or {}).get(sampler)
        if entry is None:
            why = f"{found['label']}: no samples by '{sampler}' were measured"
            asked = f"name '{sampler}' under evaluation.samplers"
            return Absent(why, f"{asked}, then {command}")
        about = entry["metrics"].get(key)
        if about is None:
            missing = entry.get("missing") or {}
            return _unmeasured(found["label"], key, missing, _epochs(cell), command)
        abouts.append(about)
        drawn = {} if sampler is None else {"samples": entry.get("samples")}
        measured.append({name: about.get(name) for name in _MEASURED} | drawn)
    values = tuple(float(about["mean"]) for about in abouts)
    over = abouts[0].get("over")
    ends = seed_interval(values) if len(values) > 1 else abouts[0].get("interval")
    if over == "data":
        # Counted, not estimated: one seed knows it exactly.
        ends = min(values), max(values)
    interval = (float(ends[0]), float(ends[1])) if ends else None
    return Number(values, interval, key, found["label"], tuple(measured), over)


def _epochs(cell: dict[str, Any]) -> int | None:
    return ((cell.get("config") or {}).get("trainer") or {}).get("num_epochs")


def _unmeasured(
    label: str, key: str, missing: dict[str, str], epochs: int | None, command: str
) -> Absent:
    if key in OF_TWO_EPOCHS and epochs == 1:
        why = f"{label}: {key} needs two epochs at least, and there was one"
        return Absent(why, f"set trainer.num_epochs to 2 at least, then {command}")
    reason = missing.get(key)
    if reason is None:
        why = f"{label}: {key} is not measured"
        if key.removesuffix(" (as published)") in FINITE or key.startswith("reconstruction bits"):
            return Absent(why, f"set evaluation.finite to {{}}, then {command}")
        return Absent(why, command)
    weights = _WEIGHTS.search(reason)
    why = f"{label}: {key} was not measured: {reason.rstrip('.')}"
    if weights:
        return Absent(why, f"put {weights[0]} into torch's cache (or --weights), then {command}")
    return Absent(why, command)
