"""Figures made of the numbers of runs.json alone: the radar, and rate against distortion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from evaluate.figures.source import Drawn, Row, Source, family
from evaluate.formats import format_number
from evaluate.metric import Metric
from evaluate.pictures import COLOURS, MARKERS, plain_log, save_figure, wrap
from evaluate.tables import Table, TableCell, build_table
from study.schema import StudyFigure


@dataclass(frozen=True)
class Axis:
    """An axis of the radar: one value a row (None: it has none)."""

    metric: Metric
    values: list[float | None]

    def _ends(self) -> tuple[float, float]:
        """The worst and the best value."""
        known = [value for value in self.values if value is not None]
        low, high = min(known), max(known)
        return (low, high) if self.metric.better == "higher" else (high, low)

    def scaled(self) -> list[float]:
        """The values with the worst at 0 and the best at 1; not a number where there is none.

        Where all are the same, none is worse than another: all are at 1.
        """
        worst, best = self._ends()
        return [
            float("nan") if v is None else (v - worst) / (best - worst) if best != worst else 1.0
            for v in self.values
        ]

    @property
    def label(self) -> str:
        """Its metric and the values at the rim and at the innermost ring."""
        worst, best = self._ends()
        return f"{self.metric.heading}\nrim {format_number(best)}\ninside {format_number(worst)}"


def _axes(table: Table) -> tuple[list[Axis], list[str]]:
    """The axes of a table's columns, and a sentence for each column that is left out."""
    axes, out = [], []
    for number, column in enumerate(table.columns):
        cells = [row.cells[number] for row in table.rows]
        values = [cell.mean if isinstance(cell, TableCell) else None for cell in cells]
        if column.better is None:
            what = "has no better end" if column.definition else "could not be measured"
            out.append(f"{column.title} is left out: it {what}.")
        elif sum(value is not None for value in values) < 2:
            out.append(f"{column.title} is left out: fewer than two models have it.")
        else:
            axes.append(Axis(column, values))
    return axes, out


def _draw_radar(axes: list[Axis], labels: list[str], title: str, path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, len(axes), endpoint=False)
    scaled = np.array([axis.scaled() for axis in axes])
    canvas = plt.figure(figsize=(8.2, 5.4))
    plot: Any = canvas.add_axes((0.17, 0.14, 0.44, 0.67), projection="polar")
    plot.set_theta_offset(np.pi / 2)
    plot.set_theta_direction(-1)
    # The worst value is a ring, not one point for all models.
    plot.set_rorigin(-0.25)
    plot.set_rlim(0, 1.0)
    for number, label in enumerate(labels):
        colour = COLOURS[number % len(COLOURS)]
        values = scaled[:, number]
        closed = np.append(values, values[0])
        style = {"color": colour, "lw": 1.5, "marker": MARKERS[number % len(MARKERS)], "ms": 4}
        plot.plot(np.append(angles, 2 * np.pi), closed, label=label, clip_on=False, **style)
        if not np.isnan(values).any():
            plot.fill(angles, values, color=colour, alpha=0.06)
    plot.set_rticks([0, 0.5, 1.0], labels=["", "", ""])
    plot.set_thetagrids(np.degrees(angles), labels=[""] * len(axes))
    for angle, axis in zip(angles, axes, strict=True):
        side = np.sin(angle)
        ha = "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        va = "bottom" if np.cos(angle) > 0.5 else "top" if np.cos(angle) < -0.5 else "center"
        plot.text(angle, 1.1, axis.label, ha=ha, va=va, fontsize=8)
    canvas.suptitle(wrap(title, 8, 10), fontsize=10)
    canvas.legend(loc="center right", fontsize=8, frameon=False)
    save_figure(canvas, path)


def _incomplete(axes: list[Axis], labels: list[str]) -> list[str]:
    said = []
    for number, label in enumerate(labels):
        lacks = [axis.metric.title for axis in axes if axis.values[number] is None]
        if lacks:
            said.append(f"{label} has no {' and no '.join(lacks)}: its line stops beside it.")
    return said


def radar(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """The reconstruction metrics of every row, each axis scaled, better outwards."""
    tables = [t for t in source.record["tables"] if t.get("of") != "generation"]
    keys = figure.metrics or tables[0]["metrics"]
    rows = [{"label": row.label, "cells": row.cells} for row in source.rows]
    table = build_table(source.record | {"rows": rows}, {"name": "", "title": "", "metrics": keys})
    axes, out = _axes(table)
    title = "Reconstruction metrics, better outwards"
    labels = [row.label for row in source.rows]
    missing = [key for key in keys if key not in {column.key for column in table.columns}]
    out += [f"{key} is left out: no model has it." for key in missing]
    if len(axes) < 3:
        return Drawn([], title, " ".join(["Not drawn: fewer than three axes.", *out]))
    file = f"{figure.file}.png"
    _draw_radar(axes, labels, f"{source.study}: {title}, {source.split} split", folder / file)
    caption = (
        f"Each axis runs from the worst model's value (innermost ring) to the best one's (rim), "
        f"linear between, means over seeds, {source.split} split: it ranks these models and says "
        "nothing of others; the values at both ends stand at the axis."
    )
    return Drawn([file], title, " ".join([caption, *out, *_incomplete(axes, labels)]))


def _points(row: Row) -> np.ndarray:
    """(KL, MSE) of each seed that has both."""
    both = [c["metrics"] for c in row.cells if {"KL", "MSE"} <= c["metrics"].keys()]
    return np.array([(m["KL"]["mean"], m["MSE"]["mean"]) for m in both]).reshape(-1, 2)


def _draw_seeds(axis: Any, points: np.ndarray, colour: str) -> None:
    if len(points) > 1:
        axis.plot(*points.T, ".", color=colour, ms=4, alpha=0.5, zorder=2)


def _draw_beta(axis: Any, rows: list[Row], label: str, colour: str) -> None:
    """The means of a run over its β, joined in the order of β and labelled with it."""
    rows = sorted(rows, key=lambda row: row.beta or 0.0)
    means = np.array([_points(row).mean(0) for row in rows])
    axis.plot(*means.T, "o-", color=colour, lw=1.2, ms=5, label=label, zorder=3)
    for row, mean in zip(rows, means, strict=True):
        _draw_seeds(axis, _points(row), colour)
        axis.annotate(
            f"β = {row.beta:g}", mean, xytext=(7, 4), textcoords="offset points", fontsize=8
        )


def rate_distortion(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """KL against MSE: a line over β for each run that has one, a point for every other row."""
    title = "Rate and distortion: KL against MSE"
    rows = [row for row in source.rows if len(_points(row))]
    if not rows:
        return Drawn([], title, "Not drawn: no model has both KL and MSE.")
    canvas, axis = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
    entries = dict.fromkeys(row.entry for row in rows)
    number = 0
    for entry in entries:
        own = [row for row in rows if row.entry == entry]
        betas = {row.beta for row in own}
        if None not in betas and len(betas) == len(own) > 1:
            _draw_beta(axis, own, f"{family(own)} over β", COLOURS[number % len(COLOURS)])
            number += 1
            continue
        for row in own:
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[1 + number % 9]
            points = _points(row)
            _draw_seeds(axis, points, colour)
            style: dict[str, Any] = {"mfc": "none", "mew": 1.5, "ms": 9, "zorder": 4}
            axis.plot(*points.mean(0), marker, color=colour, ls="", label=row.label, **style)
            number += 1
    rates = [_points(row).mean(0)[0] for row in rows]
    if min(rates) > 0 and max(rates) / min(rates) > 10:
        axis.set_xscale("log")
        plain_log(axis.xaxis)
    axis.margins(0.12)
    axis.set_xlabel("rate: KL(q(z|x) || N(0, I)), nats per image", fontsize=8)
    axis.set_ylabel("distortion: MSE", fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)
    canvas.suptitle(wrap(f"{source.study}: {title}, {source.split} split", 6, 10), fontsize=10)
    file = f"{figure.file}.png"
    save_figure(canvas, folder / file)
    caption = (
        "Every point is the mean over a row's seeds, small dots the seeds where there are "
        f"several; {source.split} split. Models without KL or MSE are not in it."
    )
    return Drawn([file], title, caption)
