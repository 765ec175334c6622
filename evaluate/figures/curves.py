"""Loss curves: all rows of a study in one figure, or a figure a row."""

import math
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from evaluate.figures.source import Drawn, Row, Source
from evaluate.figures.terms import Panel, label, panels, terms_of
from evaluate.pictures import COLOURS, plain_log, save_figure, wrap
from study.schema import StudyFigure
from train.history import read_history

COLUMNS = 5  # of models in one band of the overview
_STYLES = {"train": {"ls": "-", "marker": "o"}, "eval": {"ls": "--", "marker": "s"}}
_CAPTION = (
    "Train solid (a single epoch: a dot), eval dashed (an open square); one line a seed. Every "
    "model has its own loss in its own unit, so heights are not compared across models."
)

Histories = list[list[dict]]


def _values(history: list[dict], split: str, term: str) -> tuple[list[int], list[float]]:
    found = [(line["epoch"], line[split].get(term)) for line in history]
    finite = [(epoch, v) for epoch, v in found if v is not None and math.isfinite(v)]
    return [epoch for epoch, _ in finite], [v for _, v in finite]


def _draw_panel(axis: Any, panel: Panel, histories: Histories, terms: list[str]) -> None:
    lengths = []
    for number, term in enumerate(panel.terms):
        colour = COLOURS[number % len(COLOURS)]
        named = False
        for history in histories:
            for split, style in _STYLES.items():
                epochs, values = _values(history, split, term)
                if not epochs:
                    continue
                axis.plot(
                    epochs,
                    values,
                    color=colour,
                    lw=1.2,
                    ls=style["ls"],
                    # A line through one point is no line.
                    marker=style["marker"] if len(epochs) == 1 else None,
                    ms=5,
                    mfc="none" if split == "eval" else colour,
                    label=None if named else label(term, terms),
                )
                named = True
                lengths.append(len(epochs))
    _scale(axis, panel)
    if lengths and max(lengths) == 1:
        axis.set_xlim(0.5, 1.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(alpha=0.25)
    axis.tick_params(which="both", labelsize=7)
    axis.set_xlabel("epoch", fontsize=7)
    if panel.name not in (label(term, terms) for term in panel.terms):
        _legend(axis)


def _legend(axis: Any) -> None:
    """Inside where two lines leave room, above where there are more."""
    style: dict[str, Any] = {"fontsize": 6.5, "edgecolor": "none"}
    if len(axis.get_legend_handles_labels()[0]) > 2:
        place = {"loc": "lower left", "bbox_to_anchor": (-0.03, 1.0), "ncols": 2}
        axis.legend(**style, **place, columnspacing=0.8, handlelength=1.4, borderpad=0.1)
    else:
        axis.legend(**style, framealpha=0.7)


def _scale(axis: Any, panel: Panel) -> None:
    """Logarithmic where all is positive and spreads wide; symmetric-log where signs differ."""
    values = [abs(v) for line in axis.get_lines() for v in line.get_ydata() if v]
    signed = any(v <= 0 for line in axis.get_lines() for v in line.get_ydata())
    if panel.share:
        axis.set_ylim(-0.04, 1.04)
    elif not values or max(values) / min(values) < (5 if len(panel.terms) == 1 else 2):
        axis.margins(y=0.1)
    elif signed:
        # An unbiased MMD² may be negative. Linear up to a power of ten above the smallest value.
        smallest = max(min(values), max(values) / 1000)
        linear = 10.0 ** math.ceil(math.log10(smallest))
        axis.set_yscale("symlog", linthresh=linear, linscale=0.6)
    else:
        axis.set_yscale("log")
        plain_log(axis.yaxis)


def _histories(row: Row) -> Histories:
    return [read_history(directory.history) for directory in row.directories]


def _draw_band(part: Any, band: list[tuple[Row, Histories]], columns: int) -> None:
    """A column for each model, its panels one under another."""
    axes = part.subplots(_depth(band), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, (row, histories) in enumerate(band):
        terms = terms_of(histories)
        axes[0, column].set_title(wrap(row.label, 2.2), fontsize=9)
        for axis, panel in zip(axes[:, column], panels(terms), strict=False):
            axis.set_axis_on()
            axis.set_ylabel(panel.name, fontsize=7.5)
            _draw_panel(axis, panel, histories, terms)


def _depth(band: list[tuple[Row, Histories]]) -> int:
    return max(1, *(len(panels(terms_of(histories))) for _, histories in band))


def loss_curves(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Every row of the study in one figure, at most five in a band."""
    drawn = [(row, _histories(row)) for row in source.rows]
    bands = math.ceil(len(drawn) / COLUMNS)
    columns = math.ceil(len(drawn) / bands)
    parts = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
    heights = [0.3 + 1.9 * _depth(band) for band in parts]
    width = max(2.7 * columns, 4.0)
    title = wrap(f"{source.study}: losses over epochs; train solid, eval dashed", width, 10)
    canvas = plt.figure(figsize=(width, sum(heights) + 0.4), layout="constrained")
    canvas.suptitle(title, fontsize=10)
    subfigures = canvas.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)
    for subfigure, band in zip(subfigures[:, 0], parts, strict=True):
        _draw_band(subfigure, band, columns)
    file = f"{figure.file}.png"
    save_figure(canvas, folder / file)
    return Drawn([file], "Losses over epochs", _CAPTION)


def _draw_alone(row: Row, study: str, path: Path) -> None:
    """A row's panels side by side."""
    histories = _histories(row)
    terms = terms_of(histories)
    found = panels(terms)
    width = max(2.9 * len(found), 4.0)
    canvas, axes = plt.subplots(
        1, max(1, len(found)), figsize=(width, 2.9), squeeze=False, layout="constrained"
    )
    title = f"{study}: {row.label}: losses over epochs; train solid, eval dashed"
    canvas.suptitle(wrap(title, width, 10), fontsize=10)
    for axis, panel in zip(axes[0], found, strict=False):
        axis.set_ylabel(panel.name, fontsize=7.5)
        _draw_panel(axis, panel, histories, terms)
    save_figure(canvas, path)


def loss_curve(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """A file for each row of the study."""
    files = [f"{figure.file}-{row.name}.png" for row in source.rows]
    for row, file in zip(source.rows, files, strict=True):
        _draw_alone(row, source.study, folder / file)
    return Drawn(files, "Losses over epochs, model by model", _CAPTION)
