"""What a latent dimension does to an image: set to one value after another, or to zero."""

from pathlib import Path

import numpy as np

from evaluate.figures.latents import NOT_DRAWN, about, draw_each
from evaluate.figures.source import Drawn, Row, Source
from evaluate.formats import format_number
from evaluate.pictures import Block, image_blocks, image_rows
from study.schema import StudyFigure

_FEW = 6  # lines up to which the images are as large as in other figures
_SORTED = "Dimensions by their KL, largest first; of a model without one by their variance."


def by_weight(row: Row) -> list[tuple[int, str]]:
    """Dimensions and what they carry, in words: by KL, where there is none by variance."""
    latents = about(row)
    name, values = ("KL", latents["kl"]) if latents["kl"] else ("variance", latents["variance"])
    order = np.argsort(-np.array(values), kind="stable")
    return [(int(d), f"z{d + 1}, {name} {format_number(values[d])}") for d in order]


def _draw_traversal(source: Source, row: Row, path: Path) -> None:
    base, made = source.latents(row, "traversal_base"), source.latents(row, "traversals")
    lines = []
    for number, (d, label) in enumerate(by_weight(row)):
        # The image itself stands once, at the first line; beside the others nothing does.
        first = base if number == 0 else np.full_like(base, 255)
        lines.append((label, np.concatenate([first[None], made[d]])))
    columns = ("image", *(f"{value:g}" for value in source.latents(row, "traverse")))
    title = f"{source.study}: {row.label}: one dimension of z after another"
    image_blocks([Block("", lines, columns)], title, path, small=len(lines) > _FEW)


def traversals(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """A line of images for each dimension, over the values it is set to; a file for each row."""
    title = "Traversals: one dimension of z after another"
    keys = "traversal_base", "traversals", "traverse"
    files, left = draw_each(source, figure, folder, _draw_traversal, *keys)
    caption = (
        f"The first pictured image of the {source.split} split (left) and what the decoder makes "
        "of its posterior mean with one dimension set to the value over the column, the others "
        f"kept. {_SORTED} A line of equal images is a dimension that the decoder does not use at "
        "these values, which are few for an embedding that spreads far beyond them. Each model's "
        "first seed."
    )
    return Drawn(files, title, caption + left if files else NOT_DRAWN)


def _mse(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over images and pixels of the squared difference, pixels in [0, 1]."""
    return float(np.mean((one / 255.0 - other / 255.0) ** 2))


def _draw_zeroed(source: Source, row: Row, path: Path) -> None:
    originals, made = source.latents(row, "zeroed_originals"), source.latents(row, "zeroed")
    before = _mse(originals, made[0])
    lines = [("original", originals)]
    lines.append((f"reconstruction, MSE {before:.4f}", made[0]))
    for d, _ in by_weight(row):
        rise = _mse(originals, made[d + 1]) - before
        lines.append((f"z{d + 1} = 0, MSE {rise:+z.4f}", made[d + 1]))
    title = f"{source.study}: {row.label}: one dimension of z at zero"
    image_rows(lines, title, path, small=len(lines) > _FEW)


def zeroed(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Reconstructions with one dimension after another at zero; a file for each row."""
    title = "Reconstructions with one dimension of z at zero"
    files, left = draw_each(source, figure, folder, _draw_zeroed, "zeroed_originals", "zeroed")
    caption = (
        f"Images of the {source.split} split, what the decoder makes of their posterior means, "
        "and of these with one dimension at zero; beside each line how far the MSE to the "
        f"originals, of these images, rises. {_SORTED} Each model's first seed."
    )
    return Drawn(files, title, caption + left if files else NOT_DRAWN)
