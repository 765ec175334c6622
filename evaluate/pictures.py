"""Rows of images, drawn without a display, the same bytes each time."""

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from study.files import written_whole

# Told apart with any kind of colour vision: Okabe and Ito's seven, then grey and two of Tol's.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#999999",
    "#882255",
    "#999933",
)
MARKERS = "osD^vPX*<>"
# In inches.
MARGIN = 0.1
LINE = 0.17  # a line of text
CHARACTER = 0.075  # of a label

Rows = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Block:
    """Labelled rows of images under a heading (may be empty); N x C x H x W uint8 each.

    `columns` stand over the images of the first row, one each (none: nothing does).
    """

    heading: str
    rows: Rows
    columns: tuple[str, ...] = ()


def save_figure(figure: Figure, path: Path, photographs: bool = False, colours: int = 256) -> None:
    """Write a PNG whole; without the metadata that changes with the library's version.

    In a palette of `colours` (256 at most), which halves a file: results are committed. Photographs
    hardly compress: they get about as many pixels as they have.
    """
    drawn = io.BytesIO()
    dpi = 100 if photographs else 150
    figure.savefig(drawn, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
    with Image.open(drawn) as picture:
        reduced = picture.convert("RGB").quantize(colours)
    drawn = io.BytesIO()
    reduced.save(drawn, format="png", optimize=True)
    with written_whole(path, "wb") as file:
        file.write(drawn.getvalue())


def plain_log(axis: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _row_image(images: np.ndarray, pad: int) -> np.ndarray:
    """N x C x H x W uint8 side by side, `pad` white pixels between: H x W' x 3."""
    if images.shape[1] == 1:
        images = images.repeat(3, axis=1)
    gap = np.full((3, images.shape[2], pad), 255, np.uint8)
    strips = [strip for image in images for strip in (image, gap)][:-1]
    return np.concatenate(strips, axis=2).transpose(1, 2, 0)


def wrap(text: str, inches: float, size: float = 9) -> str:
    """`text` in lines that fit a width in inches at a font size in points."""
    return "\n".join(textwrap.wrap(text, max(16, int(inches * 130 / size))))


def _head(block: Block) -> float:
    """Inches that a block's heading and the names of its columns take."""
    return (LINE + 0.1 if block.heading else 0.06) + LINE * bool(block.columns)


def image_rows(rows: Rows, title: str, path: Path, small: bool = False) -> None:
    """One labelled row of images under another; each row is N x C x H x W uint8."""
    image_blocks([Block("", rows)], title, path, small)


def image_blocks(blocks: list[Block], title: str, path: Path, small: bool = False) -> None:
    """Blocks of labelled rows of images, one under another, as many in each as the shortest has.

    `small`: of many images that are much alike, few pixels and colours.
    """
    count = min(len(images) for block in blocks for _, images in block.rows)
    rows = sum(len(block.rows) for block in blocks)
    image = 0.62 if count > 8 or small else 0.9
    image = 0.45 if small and rows > 14 else image
    names = [textwrap.fill(name, 24) for block in blocks for name, _ in block.rows]
    label = 0.2 + CHARACTER * max(len(line) for name in names for line in name.split("\n"))
    width = label + image * count + MARGIN
    title = wrap(title, width - 2 * MARGIN)
    top = MARGIN + LINE * (title.count("\n") + 1)
    heights = [_head(block) for block in blocks]
    height = top + sum(heights) + rows * image * 1.05 + MARGIN

    figure = plt.figure(figsize=(width, height))
    figure.text(0.5, 1 - MARGIN / height, title, ha="center", va="top", fontsize=9)
    at, labels = top, iter(names)
    for block, space in zip(blocks, heights, strict=True):
        at += space
        if block.heading:
            x, y = label / width, 1 - (at - 0.05 - LINE * bool(block.columns)) / height
            figure.text(x, y, block.heading, va="bottom", fontsize=8.5, weight="bold")
        for number, column in enumerate(block.columns):
            x, y = (label + image * (number + 0.5)) / width, 1 - (at - 0.03) / height
            figure.text(x, y, column, ha="center", va="bottom", fontsize=7.5)
        for _, images in block.rows:
            box = (label / width, 1 - (at + image) / height, image * count / width, image / height)
            axis = figure.add_axes(box)
            pad = max(1, images.shape[-1] // 28)
            axis.imshow(_row_image(images[:count], pad), interpolation="antialiased", aspect="auto")
            axis.set_ylabel(next(labels), rotation=0, ha="right", va="center", fontsize=8)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            at += image * 1.05
    shapes = [images.shape for block in blocks for _, images in block.rows]
    photographs = small or any(shape[1] == 3 and shape[-1] > 48 for shape in shapes)
    save_figure(figure, path, photographs, colours=64 if small else 256)


def draw_pictures(
    folder: Path, split: str, pictures: dict[str, np.ndarray], generations: dict[str, Any]
) -> None:
    """The three PNGs of a split's `pictures.npz`; `generations` as in `metrics.json`."""
    pairs = [("original", "originals"), ("reconstruction", "reconstructions")]
    image_rows(
        [(label, pictures[key]) for label, key in pairs],
        f"reconstructions, {split} split",
        folder / "reconstructions.png",
    )
    titles = "; ".join(entry["title"] for entry in generations.values())
    for file, second, kind, about in (
        ("generations", "reconstruction of it", "self_reconstructions", "generations"),
        ("neighbours", "nearest training image", "neighbours", "generations and training images"),
    ):
        rows = []
        for key in generations:
            name = "generated" if len(generations) == 1 else f"generated ({key})"
            rows.append((name, pictures[f"generations.{key}"]))
            rows.append((second, pictures[f"{kind}.{key}"]))
        image_rows(rows, f"{about}, {titles}", folder / f"{file}.png")
