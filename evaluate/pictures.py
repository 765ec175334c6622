"""Rows of images and loss curves, drawn without a display, the same bytes each time."""

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from study.files import written_whole

COLOURS = ("#1f5fa8", "#c8501e", "#3c8c50", "#8250a0")
INCHES = 0.62  # of one image


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG whole; without the metadata that changes with the library's version."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    with written_whole(path, "wb") as file:
        file.write(drawn.getvalue())


def _row_image(images: np.ndarray, pad: int) -> np.ndarray:
    """N x C x H x W uint8 side by side, `pad` white pixels between: H x W' x 3."""
    if images.shape[1] == 1:
        images = images.repeat(3, axis=1)
    gap = np.full((3, images.shape[2], pad), 255, np.uint8)
    strips = [strip for image in images for strip in (image, gap)][:-1]
    return np.concatenate(strips, axis=2).transpose(1, 2, 0)


def image_rows(rows: list[tuple[str, np.ndarray]], title: str, path: Path) -> None:
    """One labelled row of images under another; each row is N x C x H x W uint8, N the same."""
    count = len(rows[0][1])
    pad = max(1, rows[0][1].shape[-1] // 28)
    label = 0.13 + 0.075 * max(len(name) for name, _ in rows)
    width, height = label + INCHES * count + 0.1, INCHES * len(rows) * 1.05 + 0.42
    figure, axes = plt.subplots(len(rows), 1, figsize=(width, height), squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], rows, strict=True):
        axis.imshow(_row_image(images, pad), interpolation="nearest", aspect="auto")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=9, x=(label + width) / 2 / width)
    figure.subplots_adjust(
        left=label / width, right=1 - 0.1 / width, top=1 - 0.36 / height, bottom=0.05 / height
    )
    figure.subplots_adjust(hspace=0.06)
    save_figure(figure, path)


def _draw_terms(axis: Any, histories: list[list[dict]], terms: list[str]) -> None:
    for colour, term in zip(COLOURS, terms, strict=False):
        for number, history in enumerate(histories):
            for split, style in (("train", "-"), ("eval", "--")):
                epochs = [line["epoch"] for line in history if term in line[split]]
                values = [line[split][term] for line in history if term in line[split]]
                label = f"{term}, {split}" if number == 0 else None
                axis.plot(epochs, values, style, color=colour, lw=1.1, label=label)
    # An unbiased MMD² may be negative.
    if all(v > 0 for line in axis.get_lines() for v in line.get_ydata()):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=6, framealpha=0.7, edgecolor="none")
    axis.grid(alpha=0.25)
    axis.tick_params(which="both", labelsize=7)


def loss_curves(runs: list[tuple[str, list[list[dict]]]], title: str, path: Path) -> None:
    """A column for each row of the table: its loss above, the loss's terms below.

    `runs` holds label and one history a seed. Models optimise different losses, so each has its
    own scale; train is solid, eval dashed, one line a seed.
    """
    figure, axes = plt.subplots(2, len(runs), figsize=(2.7 * len(runs) + 0.4, 4.6), squeeze=False)
    for column, (label, histories) in enumerate(runs):
        axes[0, column].set_title(label, fontsize=9)
        names = next((list(history[0]["train"]) for history in histories if history), [])
        others = [name for name in names if name != "loss"]
        for axis, terms in zip(axes[:, column], (["loss"], others), strict=True):
            if names and terms:
                _draw_terms(axis, histories, terms)
                axis.set_xlabel("epoch", fontsize=7)
            else:
                axis.set_axis_off()
    axes[0, 0].set_ylabel("loss per image", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    save_figure(figure, path)
