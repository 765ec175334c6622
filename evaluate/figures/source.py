"""What figures are drawn from: the rows of a study's record and their run directories."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.rows import sampler_label
from study.expansion import Study
from study.npz import member_names, open_array
from study.rundir import RunDirectory
from study.schema import StudyFigure

PRIOR = "z ~ N(0, I)"


@dataclass(frozen=True)
class Row:
    """A row of the study that has measured runs. `entry` is the study's run it is a point of."""

    entry: str
    name: str
    label: str
    # Of the measured seeds alone, in order: what runs.json has of each, and where it lies.
    cells: list[dict[str, Any]]
    directories: list[RunDirectory]

    @property
    def beta(self) -> float | None:
        """The β that it was trained with, where its model has one."""
        beta = self.cells[0]["config"]["model"].get("beta")
        return None if beta is None else float(beta)

    def samplers(self) -> dict[str, str]:
        """How each sampler of the model draws, by key."""
        known: dict[str, Any] = self.cells[0].get("generations") or {}
        return {key: entry["title"] for key, entry in known.items()} or {"prior": PRIOR}


@dataclass(frozen=True)
class Source:
    """A study's record and the rows of it that can be shown (never none)."""

    record: dict[str, Any]
    rows: list[Row]

    @property
    def study(self) -> str:
        """Its name, which stands over every figure."""
        return self.record["study"]

    @property
    def split(self) -> str:
        """The split that was measured and pictured."""
        return self.record["split"]

    def of(self, runs: list[str] | None) -> "Source":
        """The rows of these runs alone (None: all); there may be none."""
        rows = [row for row in self.rows if runs is None or row.entry in runs]
        return replace(self, rows=rows)

    def picture(self, row: Row, kind: str) -> np.ndarray:
        """One array of the pictures of a row's first run: uint8 N x C x H x W (`index`: N)."""
        return np.array(open_array(row.directories[0].pictures, f"{self.split}.{kind}"))

    def has(self, row: Row, kind: str) -> bool:
        """Whether that array is there."""
        return f"{self.split}.{kind}" in member_names(row.directories[0].pictures)

    def latents(self, row: Row, key: str) -> np.ndarray:
        """One array of the latents of a row's first run."""
        return np.array(open_array(row.directories[0].latents, f"{self.split}.{key}"))

    def has_latents(self, row: Row, *keys: str) -> bool:
        """Whether a row's latents were measured and its first run has these arrays of them."""
        file = row.directories[0].latents
        if not row.cells[0].get("latents") or not file.is_file():
            return False
        return {f"{self.split}.{key}" for key in keys} <= set(member_names(file))

    def generations(self, row: Row, kind: str = "generations") -> list[tuple[str, str, np.ndarray]]:
        """Sampler, label and images of each of a row's samplers that were pictured."""
        made = []
        titles = row.samplers()
        for key in titles:
            if self.has(row, f"{kind}.{key}"):
                images = self.picture(row, f"{kind}.{key}")
                made.append((key, sampler_label(row.label, key, titles), images))
        return made


@dataclass(frozen=True)
class Drawn:
    """A figure on the study's page: its files, or none and a caption that says why."""

    files: list[str]
    title: str
    caption: str


Draw = Callable[[Source, StudyFigure, Path], Drawn]


def family(rows: list[Row]) -> str:
    """What rows of one run are called together: their label without its parenthesis."""
    names = {row.label.split(" (")[0] for row in rows}
    return names.pop() if len(names) == 1 else rows[0].entry


def shown(study: Study, record: dict[str, Any], runs: Path) -> Source:
    """The rows of a record with their run directories below `runs`; rows without any are not in."""
    rows = []
    for row, cells in zip(record["rows"], study.rows().values(), strict=True):
        found = [
            (gathered, RunDirectory(runs / cell.directory))
            for cell, gathered in zip(cells, row["cells"], strict=True)
            if gathered["metrics"]
        ]
        if found:
            gathered, directories = (list(part) for part in zip(*found, strict=True))
            about = cells[0].entry, row["name"], row["label"]
            rows.append(Row(*about, gathered, directories))
    return Source(record, rows)
