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
from study.kinds import read_config
from study.overrides import apply_overrides, value_at
from study.pythae_json import suggest
from study.rundir import RunDirectory
from study.runs import Run, parse_run
from study.schema import validate
from study.schema_files import Budget, StudyConfig, StudyData, StudyRun, Tracking

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True)
class Cell:
    """One run with one seed; cells of one name are one row of a table."""

    # The study's run that it is a point of.
    entry: str
    name: str
    label: str
    seed: int
    run: Run

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
    # Of the study's own stage, the tables; each run has its own.
    tracking: Tracking

    @property
    def name(self) -> str:
        """`celeba64`, or `celeba64-small` with the budget `small`."""
        return _folder(self.config, self.budget)

    def run_directory(self, runs: Path, cell: Cell) -> RunDirectory:
        """Where a cell's run lives; `runs` is the folder of all studies' run directories."""
        return RunDirectory(runs / self.name / cell.directory)

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
    config = validate(StudyConfig, read_config(file, "study"), file)
    chosen = _budget(config, budget, file)
    split = (chosen and chosen.split) or config.split
    data = (chosen and chosen.data) or config.data
    seeds = (chosen and chosen.seeds) or config.seeds
    _refuse_repeated(seeds, f"{file}: seeds")
    common = [_given(config.tracking), config.set, chosen.set if chosen else {}]
    own = chosen.run_set if chosen else {}
    overrides = overrides or {}
    _refuse_settings(config, chosen, overrides, file)
    named = {"project": config.name, "group": _folder(config, budget)}
    fixed = {"evaluation.split": split} | ({"dataset": data.name} if data.name else {})
    cells: list[Cell] = []
    for run in config.runs:
        _refuse_repeated(run.seeds or [], f"{file}: runs.{run.name}.seeds")
        for point in _grid(run):
            layers = [*common, run.set, own.get(run.name, {}), point, fixed, overrides]
            cells += _cells(file, run, point, layers, run.seeds or seeds, named)
    _refuse_twins(cells, file)
    if chosen and chosen.rows:
        cells = _chosen_rows(cells, chosen.rows, f"{file}: budget {budget}: rows")
        _refuse_unused(chosen, cells, f"{file}: budget {budget}: run_set")
    cost = chosen.cost if chosen else config.cost
    tracking = _tracking([*common, overrides], named, file)
    return Study(file, config, budget, cost, data, split, tuple(cells), tracking)


def _refuse_repeated(seeds: list[int], where: str) -> None:
    if len(set(seeds)) != len(seeds):
        raise StudyError(f"{where}: {seeds} names a seed twice")


def _folder(config: StudyConfig, budget: str | None) -> str:
    return f"{config.name}-{budget}" if budget else config.name


def _given(section: Tracking) -> dict[str, Any]:
    """What a study's own `tracking` says, as settings of its runs."""
    return {f"tracking.{k}": v for k, v in section.model_dump(exclude_unset=True).items()}


def _named(raw: dict[str, Any], names: dict[str, str], name: str) -> dict[str, Any]:
    """A config with its own name for tracking, and the study's project and group if it has none."""
    section = raw.get("tracking", {})
    # Anything but an object is the schema's to refuse.
    full = names | section | {"name": name} if isinstance(section, dict) else section
    return raw | {"tracking": full}


def _tracking(layers: list[dict[str, Any]], names: dict[str, str], file: Path) -> Tracking:
    raw: dict[str, Any] = {}
    for layer in layers:
        ours = {key: value for key, value in layer.items() if _touch(key, "tracking")}
        raw = apply_overrides(raw, ours, str(file))
    own = _named(raw, names, f"{names['group']}/tables")
    return validate(Tracking, own["tracking"], f"{file}: tracking")


def _budget(config: StudyConfig, name: str | None, file: Path) -> Budget | None:
    if name is None:
        return None
    if name not in config.budgets:
        known = ", ".join(config.budgets) or "none"
        hint = suggest(name, list(config.budgets))
        raise StudyError(f"{file}: no budget '{name}'{hint}; it has: {known}")
    return config.budgets[name]


# Keys that the study itself sets, by another word.
_BY_THE_STUDY = {
    "trainer.seed": "seeds",
    "evaluation.split": "split",
    "tracking.name": "runs",
}


def _touch(key: str, other: str) -> bool:
    """Whether one dotted key is the other, or stands above or below it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def set_by_the_study(key: str) -> tuple[str, str] | None:
    """The key that the study sets by a word of its own, and that word, where `key` touches one."""
    return next((item for item in _BY_THE_STUDY.items() if _touch(key, item[0])), None)


def _refuse_settings(
    config: StudyConfig, budget: Budget | None, overrides: dict[str, Any], file: Path
) -> None:
    """StudyError where a setting would be overruled in silence."""
    places = [("--set", overrides), (f"{file}: set", config.set)]
    places.append((f"{file}:", _given(config.tracking)))
    if budget:
        places.append((f"{file}: budget's set", budget.set))
        places += _run_settings(config, budget, file)
    for run in config.runs:
        places += [(f"{file}: runs.{run.name}.set", run.set)]
        places += [(f"{file}: runs.{run.name}.grid", run.grid)]
        for key in overrides:
            if any(_touch(key, point) for point in run.grid):
                raise StudyError(f"--set {key}: the grid of run '{run.name}' sets it already")
    for where, settings in places:
        for key in settings:
            if taken := set_by_the_study(key):
                raise StudyError(f"{where} {key}: a study sets {taken[0]} by its '{taken[1]}'")


def _run_settings(config: StudyConfig, budget: Budget, file: Path) -> list[tuple[str, dict]]:
    """What a budget sets in single runs, by place; StudyError where there is no such run."""
    runs = {run.name: run for run in config.runs}
    places = []
    for name, settings in budget.run_set.items():
        where = f"{file}: budget's run_set.{name}"
        if name not in runs:
            raise StudyError(f"{where}: no run of that name{suggest(name, list(runs))}")
        for key in settings:
            if any(_touch(key, point) for point in runs[name].grid):
                raise StudyError(f"{where} {key}: the grid of run '{name}' sets it already")
        places.append((where, settings))
    return places


def _grid(run: StudyRun) -> list[dict[str, Any]]:
    keys = list(run.grid)
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*run.grid.values())]


def _cells(
    file: Path,
    run: StudyRun,
    point: dict[str, Any],
    layers: list[dict[str, Any]],
    seeds: list[int],
    names: dict[str, str],
) -> list[Cell]:
    """One cell a seed; later layers of settings go over earlier ones. `names`: as in `_named`."""
    run_file = file.parent / run.config
    raw = read_config(run_file, "run")
    for layer in layers:
        raw = apply_overrides(raw, layer, str(run_file))
    made = []
    name = _cell_name(run.name, point)
    for seed in seeds:
        of_seed = apply_overrides(raw, {"trainer.seed": seed}, str(run_file))
        loaded = parse_run(_named(of_seed, names, f"{names['group']}/{name}/seed-{seed}"), run_file)
        label = _label(run.label, loaded, f"{file}: runs.{run.name}.label")
        made.append(Cell(run.name, name, label, seed, loaded))
    return made


def _cell_name(name: str, point: dict[str, Any]) -> str:
    """`beta_vae` at model.beta = 0.5 is `beta_vae-beta0.5`: what it is, fit for a path."""
    for key, value in point.items():
        text = value if isinstance(value, str) else json.dumps(value)
        name += f"-{key.split('.')[-1]}{text}".lower()
    return _NOT_IN_A_NAME.sub("_", name)


def _chosen_rows(cells: list[Cell], rows: list[str], where: str) -> list[Cell]:
    """The cells of these rows, in the study's order; StudyError where it has no such row."""
    known = list(dict.fromkeys(cell.name for cell in cells))
    for name in rows:
        if name not in known:
            hint = suggest(name, known)
            raise StudyError(f"{where}: '{name}' is not one of {', '.join(known)}{hint}")
        if rows.count(name) > 1:
            raise StudyError(f"{where}: '{name}' stands there twice; once is meant")
    return [cell for cell in cells if cell.name in rows]


def _refuse_unused(budget: Budget, cells: list[Cell], where: str) -> None:
    used = {cell.entry for cell in cells}
    for name in budget.run_set:
        if name not in used:
            raise StudyError(
                f"{where}.{name}: the budget's rows leave this run out; drop it, or name its row"
            )


def _label(template: str, run: Run, where: str) -> str:
    config = run.resolved()

    def fill(match: re.Match) -> str:
        try:
            value = value_at(config, match[1])
        except KeyError:
            raise StudyError(f"{where}: '{{{match[1]}}}' is no key of its config") from None
        return f"{value:g}" if isinstance(value, float) else str(value)

    return re.sub(r"\{([^{}]*)\}", fill, template)


# What else lies beside a study's runs: reference rows, its jobs, what wandb has of its tables.
_NOT_A_RUN = ("references", "slurm", "wandb")


def _refuse_twins(cells: list[Cell], file: Path) -> None:
    seen: dict[Path, Cell] = {}
    for cell in cells:
        if cell.name in _NOT_A_RUN:
            raise StudyError(
                f"{file}: runs.{cell.entry}: '{cell.name}' is the name of a folder beside the "
                f"runs; rename it"
            )
        if cell.directory in seen:
            raise StudyError(f"{file}: two cells are called '{cell.title}'; rename one run")
        seen[cell.directory] = cell
