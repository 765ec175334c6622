"""How z is distributed: a histogram for each dimension, and the two that spread most."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from evaluate.figures.source import Drawn, Row, Source
from evaluate.pictures import COLOURS, save_figure, wrap
from study.schema import StudyFigure

NOT_DRAWN = "Not drawn: the latents of none of its runs were measured."
COLOURED_CLASSES = 3  # more lines in a small panel than these are not told apart
POINTS = 1500
_BINS = (24, 50)  # fewest and most: where images are few, more are all noise
_PEAK = 1 / math.sqrt(2 * math.pi)  # of N(0, 1)'s density


def with_latents(source: Source, *keys: str) -> list[Row]:
    """The rows that have these arrays of their latents."""
    return [row for row in source.rows if source.has_latents(row, *keys)]


def left_out(source: Source, rows: list[Row], lack: str = "their latents were not measured") -> str:
    """A sentence that names the rows which are not shown, and why; nothing where all are."""
    names = [row.label for row in source.rows if row not in rows]
    return f" Not shown, for {lack}: {', '.join(names)}." if names else ""


def draw_each(
    source: Source,
    figure: StudyFigure,
    folder: Path,
    draw: Callable[[Source, Row, Path], None],
    *keys: str,
) -> tuple[list[str], str]:
    """Draw a file for each row whose latents.npz has these arrays; the files, and a sentence that
    names the other rows."""
    rows = with_latents(source, *keys)
    files = [f"{figure.file}-{row.name}.png" for row in rows]
    for row, file in zip(rows, files, strict=True):
        draw(source, row, folder / file)
    return files, left_out(source, rows)


def about(row: Row) -> dict[str, Any]:
    """What the record has of the latents of a row's first seed."""
    return row.cells[0]["latents"]


def legend_below(canvas: Figure, handles: list[Any], labels: list[str], columns: int) -> None:
    """One legend for all panels, below them."""
    style: dict[str, Any] = {"fontsize": 8, "frameon": False, "ncols": min(columns, len(labels))}
    canvas.legend(handles, labels, loc="outside lower center", **style)


def _classes(source: Source, row: Row) -> tuple[list[str], np.ndarray] | None:
    """The names of the classes and that of each image, by number; None where they have none."""
    names = about(row)["classes"]
    if not names or not source.has_latents(row, "classes"):
        return None
    return [str(name) for name in names], source.latents(row, "classes")


# Histograms.


def _groups(source: Source, row: Row) -> list[tuple[str, np.ndarray]]:
    """What is drawn apart in each panel: classes where they are few, else both splits."""
    z, known = source.latents(row, "z"), _classes(source, row)
    if known and len(known[0]) <= COLOURED_CLASSES:
        return [(name, z[known[1] == number]) for number, name in enumerate(known[0])]
    return [(f"{source.split} split", z), ("train split", source.latents(row, "train.z"))]


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Of all values, those beyond the edges, too: the area is the share that lies within them."""
    return np.histogram(values, edges)[0] / (max(1, len(values)) * np.diff(edges))


def _edges(groups: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Bins over what all dimensions share: 99.6 % of z, and N(0, 1) whole."""
    pooled = np.concatenate([z.ravel() for _, z in groups])
    low, high = np.quantile(pooled, (0.002, 0.998))
    bins = int(np.clip(3 * min(len(z) for _, z in groups) ** (1 / 3), *_BINS))
    return np.linspace(min(-3.5, low), max(3.5, high), bins + 1)


def _top(peaks: list[float]) -> float:
    """The height of all panels: N(0, 1) whole, but what is far flatter or higher is seen, too."""
    peak = float(np.median(peaks))
    return 1.2 * min(max(peak, _PEAK), 4 * _PEAK, max(2 * peak, 1e-3))


def _draw_histograms(source: Source, row: Row, path: Path) -> None:
    groups, dimensions = _groups(source, row), about(row)["dimensions"]
    edges = _edges(groups)
    means = source.latents(row, "mean")
    posterior = not np.array_equal(means, source.latents(row, "z"))
    # Finer: of a collapsed dimension they are a spike.
    fine = np.linspace(edges[0], edges[-1], 2 * len(edges) - 1)
    columns = min(dimensions, 8 if dimensions > 12 else 4)
    lines = math.ceil(dimensions / columns)
    panel = 1.3 if columns > 4 else 2.0
    width = max(panel * columns, 5.4)  # which the legend takes
    height = 0.8 * panel * lines + 1.0
    canvas, axes = plt.subplots(
        lines,
        columns,
        figsize=(width, height),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    # By hand: a layout that is worked out takes seconds for 32 panels.
    sides = {"left": 0.08 / width, "right": 1 - 0.08 / width, "wspace": 0.06, "hspace": 0.24}
    canvas.subplots_adjust(top=1 - 0.5 / height, bottom=0.5 / height, **sides)
    normal = np.linspace(edges[0], edges[-1], 301)
    peaks = []
    for d, axis in enumerate(axes.flat):
        if d >= dimensions:
            axis.set_axis_off()
            continue
        for number, (label, z) in enumerate(groups):
            heights = _density(z[:, d], edges)
            peaks.append(heights.max())
            style: dict[str, Any] = {"lw": 1.1, "zorder": 3 - number / 10}
            axis.stairs(heights, edges, color=COLOURS[number], label=label, **style)
        if posterior:
            heights = _density(means[:, d], fine)
            axis.stairs(heights, fine, color="#777777", ls=(0, (2, 1.2)), label="means")
        axis.plot(normal, _PEAK * np.exp(-(normal**2) / 2), "k", lw=0.8, zorder=4, label="N(0, 1)")
        axis.set_title(f"z{d + 1}: W1 {about(row)['w1'][d]:.3g}", fontsize=7, pad=3)
        # Under the last of each column, also where the last line is not full.
        axis.tick_params(labelsize=6.5, length=2, labelbottom=d + columns >= dimensions)
    axes[0, 0].set_ylim(0, _top(peaks))
    axes[0, 0].set_xlim(edges[0], edges[-1])
    axes[0, 0].set_yticks([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "lower center", "ncols": len(labels), "borderaxespad": 0.2}
    canvas.legend(handles, labels, fontsize=8, frameon=False, **place)
    title = f"{source.study}: {row.label}: z by dimension, {source.split} split"
    canvas.suptitle(wrap(title, width, 9.5), fontsize=9.5, y=1 - 0.06 / height, va="top")
    save_figure(canvas, path, colours=64)


def latent_histograms(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """The distribution of each latent dimension beside N(0, 1), one file for each row."""
    title = "Latents by dimension beside N(0, 1)"
    files, left = draw_each(source, figure, folder, _draw_histograms, "z", "mean", "train.z")
    caption = (
        f"Densities of z (one draw of q(z|x) an image; the embedding of a model without a "
        f"posterior), {source.split} split, by class where there are at most {COLOURED_CLASSES} "
        "classes, else all its images and those of the train split. Dashed, of a posterior: its "
        "means. A dimension whose means are one spike while its z is N(0, 1) says nothing of the "
        "image. W1: Wasserstein-1 distance of z to N(0, 1). Both axes are the same in all panels "
        "of a model; what is higher is cut. Each model's first seed."
    )
    return Drawn(files, title, caption + left if files else NOT_DRAWN)


# Scatter.


def _draw_points(axis: Any, source: Source, row: Row) -> dict[str, Any]:
    """A panel; the handle of each class for the legend."""
    means = source.latents(row, "mean")
    spread = np.argsort(-means.var(0), kind="stable")[:2]
    chosen = np.unique(np.linspace(0, len(means) - 1, POINTS).astype(int))
    points = means[chosen][:, spread]
    if len(spread) == 1:
        points = np.column_stack([points, np.zeros(len(points))])
    names, classes = _classes(source, row) or (["images"], np.zeros(len(means), int))
    handles = {}
    for number, name in enumerate(names):
        own, colour = points[classes[chosen] == number], COLOURS[number % len(COLOURS)]
        # Drawn whole: blended colours make large files.
        style: dict[str, Any] = {"ms": 1.6, "mew": 0, "antialiased": False}
        axis.plot(*own.T, "o", color=colour, **style)
        handles[name] = plt.Line2D([], [], color=colour, marker="o", ls="", ms=4)
    axis.add_patch(Circle((0, 0), 2, fill=False, lw=0.9, zorder=4))
    low, high = np.quantile(points, (0.002, 0.998))
    reach = 1.08 * max(2.2, -low, high)
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.set_xlabel(f"z{spread[0] + 1}", fontsize=7.5, labelpad=1)
    axis.set_ylabel(f"z{spread[1] + 1}" if len(spread) > 1 else "", fontsize=7.5, labelpad=1)
    axis.set_title(wrap(row.label, 2.2, 8.5), fontsize=8.5)
    axis.tick_params(labelsize=6.5)
    return handles


def latent_scatter(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """The two dimensions of each row whose means spread most, by class, in one file."""
    title = "Latents in the two dimensions that spread most"
    rows = with_latents(source, "mean")
    if not rows:
        return Drawn([], title, NOT_DRAWN)
    columns = min(len(rows), 4)
    lines = math.ceil(len(rows) / columns)
    width = max(2.4 * columns, 4.2)
    canvas, axes = plt.subplots(
        lines, columns, figsize=(width, 2.6 * lines + 0.7), squeeze=False, layout="constrained"
    )
    handles: dict[str, Any] = {}
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, rows, strict=False):
        handles |= _draw_points(axis, source, row)
    handles["2σ of N(0, I)"] = plt.Line2D([], [], color="k", lw=0.9)
    legend_below(canvas, list(handles.values()), list(handles), 3 * columns)
    full = f"{source.study}: {title}, {source.split} split"
    canvas.suptitle(wrap(full, width, 9.5), fontsize=9.5)
    file = f"{figure.file}.png"
    save_figure(canvas, folder / file, colours=64)
    caption = (
        f"A point an image (at most {POINTS:,} of the {source.split} split, spread over it): the "
        "posterior's mean, or the embedding, in the two dimensions of largest variance; by class "
        "where the images have one. Circle: two standard deviations of N(0, I), 86 % of it. "
        "A posterior's means spread less than its z. Where the points lie far from the circle, "
        "samples of N(0, I) do not come from where the images are. Scales differ. Each model's "
        "first seed."
    )
    return Drawn([file], title, caption + left_out(source, rows))
