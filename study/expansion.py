"""A study expanded into its cells: runs x grid x seeds, in an order that is part of the format.

Runs stand in the order of the file; within a run the grid's points, the first key slowest; within
a point the seeds. An array job's index counts this list, so the order never changes silently.
"""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StudyError
from study.jsonfile import read_json_object
from study.overrides import value_at
from study.pythae_json import suggest
from study.runs import Run, load_run
from study.schema import Budget, StudyConfig, StudyData, StudyRun, validate

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True)
class Cell:
    """One run with one seed: `row` is its place among the table's rows."""

    row: int
    name: str
    label: str
    seed: int
    run: Run
    overrides: dict[str, Any]

    @property
    def directory(self) -> Path:
        """Where it lives below the study's run directory."""
        return Path(self.name) / f"seed-{self.seed}"

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.name}/seed-{self.seed}"


@dataclass(frozen=True)
class Study:
    """A study with its budget applied. `name` is the folder in runs/ and results/."""

    file: Path
    config: StudyConfig
    budget: str | None
    cost: str
    data: StudyData
    split: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """`celeba64`, or `celeba64-small` with the budget `small`."""
        return f"{self.config.name}-{self.budget}" if self.budget else self.config.name

    def rows(self) -> dict[str, list[Cell]]:
        """Cells by run name, in table order."""
        rows: dict[str, list[Cell]] = {}
        for cell in self.cells:
            rows.setdefault(cell.name, []).append(cell)
        return rows


def load_study(
    file: Path, budget: str | None = None, overrides: dict[str, Any] | None = None
) -> Study:
    """Read, check and expand a study file. Every run file it names is checked too."""
    file = Path(file)
    config = validate(StudyConfig, read_json_object(file), file)
    chosen = _budget(config, budget, file)
    common = config.set | (chosen.set if chosen else {})
    split = (chosen and chosen.split) or config.split
    data = (chosen and chosen.data) or config.data
    seeds = (chosen and chosen.seeds) or config.seeds
    if len(set(seeds)) != len(seeds):
        raise StudyError(f"{file}: seeds: {seeds} names a seed twice")
    common = common | {"evaluation.split": split}
    if data.name:
        common["dataset"] = data.name
    overrides = overrides or {}
    _refuse_grid_overrides(config, overrides)
    cells: list[Cell] = []
    for run in config.runs:
        for point in _grid(run):
            settings = common | run.set | point | overrides
            cells += _cells(file, run, point, settings, seeds, first_row=_next_row(cells))
    _refuse_twins(cells, file)
    cost = chosen.cost if chosen else config.cost
    return Study(file, config, budget, cost, data, split, tuple(cells))


def _budget(config: StudyConfig, name: str | None, file: Path) -> Budget | None:
    if name is None:
        return None
    if name not in config.budgets:
        known = ", ".join(config.budgets) or "none"
        hint = suggest(name, list(config.budgets))
        raise StudyError(f"{file}: no budget '{name}'{hint}; it has: {known}")
    return config.budgets[name]


def _refuse_grid_overrides(config: StudyConfig, overrides: dict[str, Any]) -> None:
    for run in config.runs:
        both = [key for key in overrides if key in run.grid]
        if both:
            raise StudyError(f"--set {both[0]}: the grid of run '{run.name}' sets it already")


def _grid(run: StudyRun) -> list[dict[str, Any]]:
    keys = list(run.grid)
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*run.grid.values())]


def _next_row(cells: list[Cell]) -> int:
    return cells[-1].row + 1 if cells else 0


def _cells(file, run, point, settings, seeds, first_row) -> list[Cell]:
    made = []
    name = _cell_name(run.name, point)
    for seed in seeds:
        overrides = settings | {"trainer.seed": seed}
        loaded = load_run(file.parent / run.config, overrides)
        label = _label(run.label, loaded, f"{file}: runs.{run.name}.label")
        made.append(Cell(first_row, name, label, seed, loaded, overrides))
    return made


def _cell_name(name: str, point: dict[str, Any]) -> str:
    """`beta_vae` at model.beta = 0.5 is `beta_vae-beta0.5`: what it is, fit for a path."""
    for key, value in point.items():
        text = value if isinstance(value, str) else json.dumps(value)
        name += f"-{key.split('.')[-1]}{text}".lower()
    return _NOT_IN_A_NAME.sub("_", name)


def _label(template: str, run: Run, where: str) -> str:
    config = run.resolved()

    def fill(match: re.Match) -> str:
        try:
            value = value_at(config, match[1])
        except KeyError:
            raise StudyError(f"{where}: '{{{match[1]}}}' is no key of its config") from None
        return f"{value:g}" if isinstance(value, float) else str(value)

    return re.sub(r"\{([^{}]*)\}", fill, template)


def _refuse_twins(cells: list[Cell], file: Path) -> None:
    seen: dict[Path, Cell] = {}
    for cell in cells:
        if cell.directory in seen:
            raise StudyError(f"{file}: two cells are called '{cell.title}'; rename one run")
        seen[cell.directory] = cell
