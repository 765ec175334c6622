"""Figures made of images: originals, reconstructions, generations of a row's first run."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluate.figures.source import Drawn, Row, Source, family
from evaluate.pictures import Block, image_blocks, image_rows
from study.schema import StudyFigure


def _same_images(source: Source) -> list[Row]:
    """The rows that picture the images of the first: another number spreads over other ones."""
    index = source.picture(source.rows[0], "index")
    return [row for row in source.rows if np.array_equal(source.picture(row, "index"), index)]


def _left_out(source: Source, rows: list[Row]) -> str:
    """A sentence that names the rows which are not shown; nothing where all are."""
    names = [row.label for row in source.rows if row not in rows]
    return f" Not shown, for other images were pictured: {', '.join(names)}." if names else ""


def _draws(rows: list[Row]) -> str:
    """How the samples of these rows were drawn, in words."""
    titles = {title: None for row in rows for title in row.samplers().values()}
    return "; ".join(titles)


def reconstructions(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """The same originals over each row's reconstructions."""
    rows = _same_images(source)
    title = f"Originals over reconstructions, {source.split} split"
    images = [("original", source.picture(rows[0], "originals"))]
    images += [(row.label, source.picture(row, "reconstructions")) for row in rows]
    image_rows(images, f"{source.study}: {title}", folder / f"{figure.file}.png")
    caption = (
        f"The same images of the {source.split} split for every model, spread over the split and "
        "not chosen; each model's first seed." + _left_out(source, rows)
    )
    return Drawn([f"{figure.file}.png"], title, caption)


def generations(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Each row's generations, a line for each of its samplers."""
    rows = source.rows
    images = [(label, made) for row in rows for _, label, made in source.generations(row)]
    title = "Generations"
    file = f"{figure.file}.png"
    image_rows(images, f"{source.study}: {title}, {_draws(rows)}", folder / file)
    caption = (
        f"Generated images, not chosen ({_draws(rows)}); the same z for all models of one "
        "latent size; each model's first seed."
    )
    return Drawn([file], title, caption)


def beta_grid(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Reconstructions and generations of a run over its β, one file a run."""
    files, left_out = [], ""
    for entry in dict.fromkeys(row.entry for row in source.rows):
        files.append(f"{figure.file}-{entry}.png")
        left_out += _draw_beta_grid(source.of([entry]), folder / files[-1])
    caption = (
        f"Above: images of the {source.split} split and their reconstructions as β grows. "
        f"Below: generations ({_draws(source.rows)}), in a column from the same z, "
        "unrelated to the originals. Each β's first seed." + left_out
    )
    return Drawn(files, "Reconstructions and generations over β", caption)


def _draw_beta_grid(source: Source, path: Path) -> str:
    """Draws one file; what the caption has to say of it."""
    ordered = replace(source, rows=sorted(source.rows, key=lambda row: row.beta or 0.0))
    rows = _same_images(ordered)
    names = [f"β = {row.beta:g}" for row in rows]
    if len(set(names)) < len(names):  # a grid over β and something else
        names = [row.label for row in rows]
    named = list(zip(names, rows, strict=True))
    made = [("original", source.picture(rows[0], "originals"))]
    made += [(name, source.picture(row, "reconstructions")) for name, row in named]
    new = [(name, im) for name, row in named for _, _, im in source.generations(row)]
    blocks = [Block("reconstructions", made), Block("generations", new)]
    image_blocks(blocks, f"{source.study}: {family(rows)} over β", path)
    return _left_out(ordered, rows)


def three_rows(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Original, reconstruction, generated: one file for each row of the study."""
    files = []
    for row in source.rows:
        images = [
            ("original", source.picture(row, "originals")),
            ("reconstruction", source.picture(row, "reconstructions")),
        ]
        for _, label, new in source.generations(row):
            images.append((f"generated{label.removeprefix(row.label)}", new))
        files.append(f"{figure.file}-{row.name}.png")
        image_rows(images, f"{source.study}: {row.label}", folder / files[-1])
    caption = (
        f"Images of the {source.split} split, their reconstructions, and generated images "
        f"({_draws(source.rows)}), which are unrelated to the originals. Each model's first seed."
    )
    return Drawn(files, "Original, reconstruction, generated", caption)


def _pairs(source: Source, kind: str, second: str) -> list[Block]:
    """A block for each sampler of each row: its samples over what `kind` has for each of them."""
    blocks = []
    for row in source.rows:
        beside = {key: images for key, _, images in source.generations(row, kind)}
        for key, label, images in source.generations(row):
            if key in beside:
                blocks.append(Block(label, [("sample", images), (second, beside[key])]))
    return blocks


def self_reconstructions(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Samples of each row over the model's own reconstructions of them."""
    title = "Samples over their own reconstructions"
    blocks = _pairs(source, "self_reconstructions", "its reconstruction")
    caption = (
        f"Each model's samples ({_draws(source.rows)}) and what the model makes of them when it "
        "encodes and decodes them: what the generation table measures. First seeds."
    )
    return _blocks_or_none(source, figure, folder, blocks, title, caption)


def neighbours(source: Source, figure: StudyFigure, folder: Path) -> Drawn:
    """Samples of each row over the training images nearest to them: does a model copy?"""
    title = "Samples over the training images nearest to them"
    blocks = _pairs(source, "neighbours", "nearest training image")
    caption = (
        f"Each model's samples ({_draws(source.rows)}) and, of the whole training split, the image "
        "nearest to each by squared pixel distance: a sample that equals its neighbour is a copy. "
        "First seeds."
    )
    return _blocks_or_none(source, figure, folder, blocks, title, caption)


def _blocks_or_none(
    source: Source,
    figure: StudyFigure,
    folder: Path,
    blocks: list[Block],
    title: str,
    caption: str,
) -> Drawn:
    if not blocks:
        return Drawn([], title, "Not drawn: no run of this study has pictures of them.")
    file = f"{figure.file}.png"
    image_blocks(blocks, f"{source.study}: {title}", folder / file, small=True)
    return Drawn([file], title, caption)
