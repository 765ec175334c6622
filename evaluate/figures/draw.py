"""Draws the figures that a study lists."""

from pathlib import Path
from typing import Any

from evaluate.figures.charts import radar, rate_distortion
from evaluate.figures.check import BETA
from evaluate.figures.curves import loss_curve, loss_curves
from evaluate.figures.dimensions import correlations, kl_per_dimension
from evaluate.figures.images import (
    beta_grid,
    generations,
    neighbours,
    reconstructions,
    self_reconstructions,
    three_rows,
)
from evaluate.figures.latents import latent_histograms, latent_scatter
from evaluate.figures.source import Draw, Drawn, shown
from evaluate.figures.traversals import traversals, zeroed
from study.expansion import Study
from study.schema import FigureKind, StudyFigure

_KINDS: dict[FigureKind, Draw] = {
    "reconstructions": reconstructions,
    "generations": generations,
    "beta_grid": beta_grid,
    "three_rows": three_rows,
    "self_reconstructions": self_reconstructions,
    "neighbours": neighbours,
    "radar": radar,
    "rate_distortion": rate_distortion,
    "loss_curves": loss_curves,
    "loss_curve": loss_curve,
    "latent_histograms": latent_histograms,
    "latent_scatter": latent_scatter,
    "correlations": correlations,
    "traversals": traversals,
    "zeroed": zeroed,
    "kl_per_dimension": kl_per_dimension,
}


def draw_figures(
    study: Study, record: dict[str, Any], runs: Path, folder: Path
) -> list[tuple[StudyFigure, Drawn]]:
    """Draw into `folder` what the run directories below `runs` allow, in the study's order.

    A row of which no run is measured is left out; a figure left without rows is not drawn, and
    says so.
    """
    source = shown(study, record, runs)
    drawn = []
    for figure in study.config.figures:
        chosen = figure.runs
        if figure.kind == "beta_grid" and chosen is None:
            chosen = [run.name for run in study.config.runs if BETA in run.grid]
        if chosen and not any(cell.entry in chosen for cell in study.cells):
            continue  # of rows that this budget has not got
        part = source.of(chosen)
        if part.rows:
            drawn.append((figure, _KINDS[figure.kind](part, figure, folder)))
        else:
            title = figure.file.replace("_", " ").capitalize()
            why = "Not drawn: none of its runs is measured."
            drawn.append((figure, Drawn([], title, why)))
    return drawn
