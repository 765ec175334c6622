"""What a study's file asks of figures, checked before anything runs."""

from typing import get_args

from evaluate.registry import KEYS
from study.errors import StudyError
from study.expansion import Study
from study.pythae_json import suggest
from study.schema import FigureKind, LatentFigureKind, StudyFigure
from study.schema_files import StudyConfig

BETA = "model.beta"
OF_LATENTS: tuple[FigureKind, ...] = get_args(LatentFigureKind)


def check_figures(study: Study) -> None:
    """StudyError where a figure asks for what is not there, or two have a name.

    That is a run, a metric, or latents of runs that all do without `evaluation.latents`.
    """
    config, where = study.config, str(study.file)
    names = [figure.file for figure in config.figures]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"{where}: figures: two are called '{name}'; give one another 'name'")
    for figure in config.figures:
        _check_runs(figure, config, f"{where}: figures.{figure.file}")
        _check_metrics(figure, config, f"{where}: figures.{figure.file}")
        _check_latents(figure, study, f"{where}: figures.{figure.file}")


def _check_runs(figure: StudyFigure, config: StudyConfig, where: str) -> None:
    known = {run.name: run for run in config.runs}
    for name in figure.runs or []:
        if name not in known:
            hint = suggest(name, list(known))
            raise StudyError(f"{where}.runs: '{name}' is not one of {', '.join(known)}{hint}")
        if figure.kind == "beta_grid" and BETA not in known[name].grid:
            raise StudyError(f"{where}.runs: run '{name}' has no grid over {BETA}")
    if figure.kind == "beta_grid" and not any(BETA in run.grid for run in config.runs):
        raise StudyError(f"{where}: no run of this study has a grid over {BETA}")


def _check_metrics(figure: StudyFigure, config: StudyConfig, where: str) -> None:
    if figure.metrics and figure.kind != "radar":
        raise StudyError(f"{where}.metrics: only a radar has metrics, not a {figure.kind}")
    for key in figure.metrics or []:
        if key not in KEYS:
            hint = suggest(key, list(KEYS))
            raise StudyError(f"{where}.metrics: '{key}' is not one of {', '.join(KEYS)}{hint}")
    measured = any(table.of == "reconstruction" for table in config.tables)
    if figure.kind == "radar" and not figure.metrics and not measured:
        raise StudyError(f"{where}.metrics: this key is missing, and no table of reconstruction")


def _check_latents(figure: StudyFigure, study: Study, where: str) -> None:
    # Of rows that the budget leaves out nothing is drawn, and nothing asked.
    cells = [cell for cell in study.cells if cell.entry in (figure.runs or [cell.entry])]
    measured = any(cell.run.config.evaluation.latents for cell in cells)
    if figure.kind in OF_LATENTS and cells and not measured:
        raise StudyError(
            f"{where}: none of its runs has evaluation.latents, which a {figure.kind} is drawn "
            'from; set "evaluation.latents": {}'
        )
