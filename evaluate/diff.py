"""What differs between two run directories: config, data, versions, machine, metrics."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluate.formats import format_number
from evaluate.statistics import bootstrap_interval
from study.identity import NO_NUMBERS, differences
from study.npz import member_names, open_array
from study.overrides import flatten
from study.rundir import RunDirectory

NONE = "–"
# What of run.json says where a run came from, by the heading of its table.
_ABOUT = {"Code": "code", "Versions": "versions", "Machine": "machine"}
# What of a split's entry in metrics.json is no circumstance of measuring, but its outcome.
_OUTCOME = ("metrics", "generations", "missing", "mean_image_mse")
_WHOLE_HASH = 64

Lines = list[dict[str, str]]


@dataclass(frozen=True)
class Table:
    """A heading, its lines by column (`numbers`: aligned as such), and what stands under them."""

    heading: str
    lines: Lines
    numbers: bool = False
    note: str = ""

    def markdown(self) -> str:
        """`## heading`, the table aligned, the note."""
        frame = pd.DataFrame(self.lines)
        align = ["left"] + ["right" if self.numbers else "left"] * (len(frame.columns) - 1)
        grid = frame.to_markdown(index=False, disable_numparse=True, colalign=align)
        return "\n\n".join(part for part in (f"## {self.heading}", grid, self.note) if part)


def diff(one: Path, two: Path) -> str:
    """Markdown: a table for each kind of thing that differs, and every metric of the splits that
    both have; one line where nothing differs. StudyError where one is no run directory.

    What a run is called, and when it was started, is no difference. Runs may be unfinished, or not
    measured.
    """
    a, b = RunDirectory(one), RunDirectory(two)
    records = a.read(), b.read()
    tables = [*_of_records(*records), *_of_state(a, b)]
    measured = list(_of_splits(a, b))
    tables += [table for table, differs in measured if differs]
    head = f"A: {one.as_posix()}\nB: {two.as_posix()}"
    if not tables:
        numbers = "metrics" if measured else "neither is measured"
        joined = f"config, data, code, versions, machine and {numbers}"
        if not measured:
            joined = f"config, data, code, versions and machine; {numbers}"
        return f"{one.as_posix()} and {two.as_posix()} do not differ: the same {joined}\n"
    same = [table.heading for table, differs in measured if not differs]
    parts = [head, *(table.markdown() for table in tables)]
    if same:
        parts.append(f"The same in both: {', '.join(same)}.")
    return "\n\n".join(parts) + "\n"


def _of_records(one: dict[str, Any], two: dict[str, Any]) -> Iterator[Table]:
    found = differences(one, two, evaluation=True)
    config = {k.removeprefix("config."): v for k, v in found.items() if k.startswith("config.")}
    data = {k.removeprefix("data."): v for k, v in found.items() if k.startswith("data.")}
    # Names of a mirror, and the like: said, since they are in the config, but apart.
    quiet = {
        key: pair
        for key, pair in _unlike(one["config"], two["config"]).items()
        if any(f"{key}.".startswith(f"{section}.") for section in NO_NUMBERS)
    }
    for heading, pairs in (("Config", config), ("Config that changes no number", quiet)):
        yield from _table(heading, pairs)
    yield from _table("Data", data)
    for heading, key in _ABOUT.items():
        yield from _table(heading, _unlike(one.get(key) or {}, two.get(key) or {}))


def _of_state(a: RunDirectory, b: RunDirectory) -> Iterator[Table]:
    def state(run: RunDirectory) -> dict[str, Any]:
        splits = ", ".join(run.measured_splits()) or "none"
        if not run.measured_splits() and run.metrics.is_file():
            splits = "none (metrics.json is of another version)"
        training = "finished" if run.trained else "stopped" if run.stopped else "not finished"
        return {"training": training, "splits measured": splits}

    yield from _table("State", _unlike(state(a), state(b)))


def _unlike(one: dict[str, Any], two: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> both values, where they differ; a missing key counts as null."""
    a, b = flatten(one), flatten(two)
    keys = dict.fromkeys((*a, *b))
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def _table(heading: str, pairs: Mapping[str, tuple[Any, Any]]) -> list[Table]:
    """No table where there is nothing to tell."""
    lines = [{"key": key, "A": _shown(a), "B": _shown(b)} for key, (a, b) in pairs.items()]
    return [Table(heading, lines)] if lines else []


def _shown(value: Any) -> str:
    """JSON, bare where it is a string; a checksum by its beginning."""
    if value is None:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) == _WHOLE_HASH and set(text) <= set("0123456789abcdef"):
        text = f"{text[:12]}…"
    return text.replace("|", "\\|")


def _of_splits(a: RunDirectory, b: RunDirectory) -> Iterator[tuple[Table, bool]]:
    """Tables of all splits that both have measured, and whether there is a difference in each."""
    one, two = a.measured_splits(), b.measured_splits()
    for split in [split for split in one if split in two]:
        first, second = one[split], two[split]
        measuring = _unlike(_circumstances(first), _circumstances(second))
        for table in _table(f"How the {split} split was measured", measuring):
            yield table, True
        same_images = all(first[key] == second[key] for key in ("data_sha256", "images"))
        intervals = _intervals(a, b, split) if same_images else {}
        yield _metrics(f"Reconstruction, {split} split", first, second, intervals, same_images)
        for key in dict.fromkeys((*first["generations"], *second["generations"])):
            left, right = (entry["generations"].get(key, {}) for entry in (first, second))
            title = (left or right)["title"]
            yield _metrics(f"Samples, {title}, {split} split", left, right, {}, False)


def _circumstances(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _OUTCOME}


def _metrics(
    heading: str,
    one: dict[str, Any],
    two: dict[str, Any],
    intervals: dict[str, tuple[float, float]],
    paired: bool,
) -> tuple[Table, bool]:
    """Every metric of either; whether a number, or what is there, differs."""
    a, b = one.get("metrics", {}), two.get("metrics", {})
    lines, differs = [], one.get("missing", {}) != two.get("missing", {})
    for key in dict.fromkeys((*a, *b)):
        left, right = a.get(key, {}).get("mean"), b.get(key, {}).get("mean")
        both = left is not None and right is not None
        titles = dict.fromkeys(found[key]["title"] for found in (a, b) if key in found)
        # Another likelihood, say: numbers of two definitions are not to be taken from each other.
        comparable = both and len(titles) == 1
        line = {"metric": " / ".join(titles).replace("|", "\\|")}
        line |= {"A": _number(left), "B": _number(right)}
        line["B - A"] = _number(right - left) if comparable else NONE
        if paired:
            interval = intervals.get(key) if comparable else None
            line["95 % interval"] = " to ".join(map(_number, interval)) if interval else NONE
        lines.append(line)
        differs = differs or left != right or len(titles) > 1
    return Table(heading, lines, True, _note(one, two, paired)), differs and bool(lines)


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    return "0" if value == 0 else format_number(value)


def _note(one: dict[str, Any], two: dict[str, Any], paired: bool) -> str:
    """Under a table of metrics: what the interval is, what is missing and why."""
    notes = []
    if paired:
        notes.append(
            "The interval is of B - A over the same images, by paired bootstrap: it says how far "
            "the difference depends on which images were measured, nothing of another training."
        )
    else:
        notes.append("Not of the same images, so no interval of the difference is given.")
    for name, entry in (("A", one), ("B", two)):
        for key, why in entry.get("missing", {}).items():
            notes.append(f"{key} is missing in {name}: {why}.")
    return " ".join(notes).replace("|", "\\|")


def _intervals(a: RunDirectory, b: RunDirectory, split: str) -> dict[str, tuple[float, float]]:
    """Key -> 95 % interval of the mean of B - A, of the reconstructions' per-image metrics."""
    if not (a.per_image.is_file() and b.per_image.is_file()):
        return {}
    start = f"{split}."
    names = [
        name
        for name in member_names(a.per_image)
        if name.startswith(start) and not name.startswith(f"{start}generations.")
    ]
    there = set(member_names(b.per_image))
    found = {}
    for name in names:
        if name in there:
            left, right = open_array(a.per_image, name), open_array(b.per_image, name)
            if left.shape == right.shape and left.ndim == 1:
                found[name.removeprefix(start)] = np.subtract(right, left)
    if not found:
        return {}
    # Together: all metrics on the same bootstrap samples.
    low, high = bootstrap_interval(np.stack(list(found.values()), 1))
    return {key: (float(low[i]), float(high[i])) for i, key in enumerate(found)}
