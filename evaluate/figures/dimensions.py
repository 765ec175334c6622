"""Numbers of each latent dimension: its correlation with factors, its KL, its variance."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from evaluate.figures.latents import NOT_DRAWN, about, left_out, legend_below
from evaluate.figures.source import Drawn, Row, Source
from evaluate.metrics.active_units import ACTIVE
from evaluate.pictures import COLOURS, MARKERS, save_figure, wrap
from study.schema import StudyFigure

_FLOOR = 1e-5  # what is smaller is drawn here on a logarithmic axis
_NUMBERED = 12  # dimensions up to which a number fits into a cell


def _of_seeds(row: Row) -> list[dict[str, Any]]:
    """What the record has of the latents of each seed that has any."""
    return [cell["latents"] for cell in row.cells if cell.get("latents")]


def _rows(source: Source) -> list[Row]:
    return [row for row in source.rows if row.cells[0].get("latents")]


# Correlations.


def _signed(latents: dict[str, Any]) -> np.ndarray:
    """Factors x dimensions; 0 where a mean that never changes has no r."""
    lines = [latents["correlations"][factor] for factor in latents["factors"]]
    return np.nan_to_num(np.array(lines, dtype=float))


def _are_active(latents: dict[str, Any]) -> np.ndarray:
    """Whether each dimension's means vary."""
    return np.array(latents["variance"]) > ACTIVE


def _largest(row: Row) -> list[str]:
    """For each factor its largest |r| over active dimensions (0 without any), mean and standard
    deviation over seeds."""
    seeds = np.array(
        [
            np.abs(_signed(latents))[:, _are_active(latents)].max(1, initial=0)
            for latents in _of_seeds(row)
        ]
    )
    if len(seeds) == 1:
        return [f"{value:.2f}" for value in seeds[0]]
    return [f"{m:.2f} ± {s:.2f}" for m, s in zip(seeds.mean(0), seeds.std(0, ddof=1), strict=True)]


def _draw_heat(axis: Any, row: Row) -> Any:
    latents = about(row)
    signed = _signed(latents)
    factors, dimensions = signed.shape
    drawn = axis.imshow(signed, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for d in np.flatnonzero(~_are_active(latents)):
        look: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.55", "hatch": "////", "lw": 0}
        axis.axvspan(d - 0.5, d + 0.5, **look)
    axis.set_yticks(range(factors), latents["factors"], fontsize=8)
    names = [f"z{d + 1}" for d in range(dimensions)]
    axis.set_xticks(range(dimensions), names, fontsize=7 if dimensions <= _NUMBERED else 6)
    axis.tick_params(length=0)
    axis.set_title(row.label, fontsize=8.5, loc="left")
    for f, text in enumerate(_largest(row)):
        at = (dimensions - 0.35, f)
        axis.annotate(text, at, annotation_clip=False, va="center", fontsize=8)
    axis.text(1.0, 1.04, " largest |r|", transform=axis.transAxes, va="bottom", fontsize=7.5)
    for (f, d), r in np.ndenumerate(signed if dimensions <= _NUMBERED else signed[:0]):
        colour = "white" if abs(r) > 0.6 else "black"
        axis.text(d, f, f"{r:z.2f}", ha="center", va="center", fontsize=7, color=colour)
    return drawn


def _width(row: Row) -> float:
    """Of a heat map, in inches."""
    dimensions = about(row)["dimensions"]
    return (0.44 if dimensions <= _NUMBERED else 0.26) * dimensions


def _anchors(rows: list[Row]) -> str:
    """Of which point a position is, where factors are positions."""
    if not any({"x", "y"} & set(about(row)["factors"]) for row in rows):
        return ""
    return (
        " x and y are the configuration's: a circle's centre, a square's upper left corner, a "
        "triangle's apex."
    )


def correlations(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Pearson's r of factors and latent dimensions, a heat map for each row, in one file."""
    title = "Correlation of factors and latents"
    rows = [row for row in _rows(source) if about(row)["factors"]]
    if not rows:
        return Drawn([], title, "Not drawn: no measured latents of images with known factors.")
    wide, margins = max(2.5, *(_width(row) for row in rows)), (0.65, 1.3)
    line = 0.24 * max(len(about(row)["factors"]) for row in rows)
    width, step = wide + sum(margins), line + 0.5
    height = step * len(rows) + 1.0
    canvas = plt.figure(figsize=(width, height))
    for number, row in enumerate(rows):
        bottom = height - 0.4 - step * (number + 1) + 0.15
        box = (margins[0] / width, bottom / height, _width(row) / width, line / height)
        drawn = _draw_heat(canvas.add_axes(box), row)
    place = canvas.add_axes((margins[0] / width, 0.32 / height, wide / width, 0.09 / height))
    bar = canvas.colorbar(drawn, cax=place, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_ylabel("r ", rotation=0, ha="right", va="center", fontsize=8)
    full = wrap(f"{source.study}: {title}, {source.split} split", width, 9.5)
    canvas.suptitle(full, fontsize=9.5, y=1 - 0.08 / height, va="top")
    file = f"{figure.file}.png"
    save_figure(canvas, folder / file)
    caption = (
        f"Pearson's r of each factor and each dimension of the posterior's mean (or of the "
        f"embedding), {source.split} split, each model's first seed: signs and the order of "
        "dimensions mean nothing and differ between seeds. A hatched dimension is inactive: its "
        f"variance over the split is not above {ACTIVE}. Beside it the largest |r| of each factor "
        "over active dimensions, mean ± standard deviation over seeds. A factor that one dimension "
        "carries alone has one dark cell in its line, and that cell alone in its column."
        f"{_anchors(rows)}"
    )
    lack = "their latents were not measured or their images have no factors"
    return Drawn([file], title, caption + left_out(source, rows, lack))


# KL and variance.


def _sorted_means(lists: list[list[float]]) -> np.ndarray:
    """Largest first in each seed, then the mean over seeds."""
    return np.sort(np.array(lists, dtype=float), axis=1)[:, ::-1].mean(0)


def _draw_sorted(axis: Any, values: np.ndarray, number: int) -> Any:
    style: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)], "ms": 3.5, "lw": 1.1}
    ranks = np.arange(1, len(values) + 1)
    return axis.plot(ranks, values, color=COLOURS[number % len(COLOURS)], **style)[0]


def _scale(axis: Any) -> None:
    """Logarithmic where the values spread wide; with no number below the floor."""
    values = np.concatenate([line.get_ydata() for line in axis.get_lines()] or [np.ones(1)])
    if values.max() > 30 * max(values.min(), _FLOOR):
        for line in axis.get_lines():
            line.set_ydata(np.maximum(line.get_ydata(), _FLOOR))
        axis.relim()
        axis.set_yscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(labelsize=7)
    axis.set_xlabel("dimension, largest first", fontsize=8)
    axis.grid(alpha=0.25)


def _active(row: Row) -> str:
    seeds = _of_seeds(row)
    counts = [_are_active(latents).sum() for latents in seeds]
    return f"{row.label}: {np.mean(counts):.3g} of {seeds[0]['dimensions']} active"


def kl_per_dimension(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """The KL of each dimension, and the variance of its means, largest first, all rows."""
    title = "KL and variance of each latent dimension"
    rows = _rows(source)
    if not rows:
        return Drawn([], title, NOT_DRAWN)
    canvas, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.9), layout="constrained")
    handles = []
    for number, row in enumerate(rows):
        seeds = _of_seeds(row)
        if seeds[0]["kl"]:
            _draw_sorted(left, _sorted_means([latents["kl"] for latents in seeds]), number)
        variance = _sorted_means([latents["variance"] for latents in seeds])
        handles.append(_draw_sorted(right, variance, number))
    if not left.get_lines():
        style: dict[str, Any] = {"ha": "center", "fontsize": 8, "transform": left.transAxes}
        left.text(0.5, 0.5, "no model has a Gaussian posterior", **style)
    _scale(left)
    _scale(right)
    right.axhline(ACTIVE, color="black", ls="--", lw=0.8)
    left.set_ylabel("KL(q(z|x) || N(0, 1)), nats per image", fontsize=8)
    right.set_ylabel("variance of the means", fontsize=8)
    legend_below(canvas, handles, [_active(row) for row in rows], 2)
    full = wrap(f"{source.study}: {title}, {source.split} split", 8.0, 9.5)
    canvas.suptitle(full, fontsize=9.5)
    file = f"{figure.file}.png"
    save_figure(canvas, folder / file, colours=128)
    caption = (
        f"{source.split.capitalize()} split, sorted in each seed, then the mean over seeds. Left: "
        "the mean over images of each dimension's KL, of models with a Gaussian posterior. Right: "
        "the variance over images of its mean (or of the embedding); above the dashed line "
        f"({ACTIVE}) a dimension is active, and the legend counts these, mean over seeds. A "
        "collapsed dimension has neither KL nor variance; what is below "
        f"{_FLOOR:g} stands at {_FLOOR:g} on a logarithmic axis."
    )
    return Drawn([file], title, caption + left_out(source, rows))
