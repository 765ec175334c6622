"""Figures of the latents: every kind from made arrays, its order, and what it leaves out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from evaluate.figures import dimensions, latents
from evaluate.figures import traversals as walks
from evaluate.figures.check import OF_LATENTS
from evaluate.figures.draw import draw_figures
from evaluate.figures.source import Drawn
from evaluate.pictures import Block
from study.expansion import Study, load_study
from study.npz import open_array
from tests import made_latents
from tests.test_study import write_study

RUNS = [
    {"name": "ae", "config": "vae.json", "label": "AE"},
    {"name": "vae", "config": "vae.json", "label": "VAE"},
]
ALL = [{"kind": kind} for kind in OF_LATENTS]
SHAPES = ["circle", "square", "triangle"]
GREY, COLOUR = (1, 28, 28), (3, 56, 56)


def study_with(folder: Path, figures: list[dict], seeds=(0,), **more: Any) -> Study:
    settings = more.pop("set", {"evaluation.latents": {}})
    about = {"runs": RUNS, "figures": figures, "seeds": list(seeds), "set": settings}
    return load_study(write_study(folder, **about | more))


def made(
    folder: Path,
    figures: list[dict],
    size: int = 4,
    shape: tuple[int, ...] = GREY,
    classes: list[str] | None = None,
    seeds: tuple[int, ...] = (0,),
    scale: float = 1.0,
) -> tuple[Study, dict]:
    """An AE and a VAE of `size` dimensions, 300 images; the VAE's last dimension is collapsed.

    The VAE's dimensions carry more and more from the first to the last but one.
    """
    study = study_with(folder, figures, seeds)
    rows = []
    for name, cells in study.rows().items():
        gathered = []
        for cell in cells:
            random = np.random.default_rng(cell.seed)
            own = random.normal(size=(300, size)) * scale
            sd, labels = None, random.integers(0, len(classes or [0]), 300)
            if name == "vae":
                own *= np.append(np.linspace(0.3, 0.9, size - 1), 0)
                sd = np.append(np.linspace(0.9, 0.3, size - 1), 1)
            factors = {"size": own[:, 0] - 0.5 * own[:, 1], "x": -own[:, 0]} if classes else None
            kinds = (classes, labels) if classes else None
            decode = made_latents.decoder(size, shape)
            path = folder / "runs" / cell.directory
            entry = made_latents.leave(path, own, sd, decode, kinds, factors)
            gathered.append({"metrics": {"MSE": {}}, "latents": entry, "config": {"model": {}}})
        rows.append({"name": name, "label": cells[0].label, "cells": gathered})
    return study, {"study": "made", "split": "eval", "rows": rows, "tables": []}


def drawn(folder: Path, study: Study, record: dict, to: str = "results") -> list[Drawn]:
    # As runs.json holds it.
    record = json.loads(json.dumps(record))
    return [drawn for _, drawn in draw_figures(study, record, folder / "runs", folder / to)]


@pytest.mark.parametrize(
    "how",
    [
        {"size": 2, "shape": GREY, "classes": SHAPES, "seeds": (0, 1, 2)},
        {"size": 16, "shape": GREY, "classes": [str(n) for n in range(10)]},
        {"size": 32, "shape": COLOUR, "scale": 10.0},
    ],
    ids=["three-classes", "ten-classes", "colour"],
)
@pytest.mark.filterwarnings("error")
def test_every_kind_is_drawn_and_captioned(tmp_path: Path, how: dict) -> None:
    figures = drawn(tmp_path, *made(tmp_path, ALL, **how))
    for kind, figure in zip(OF_LATENTS, figures, strict=True):
        if kind == "correlations" and "classes" not in how:
            assert figure.files == [] and "factors" in figure.caption
            continue
        alone = kind in ("latent_scatter", "correlations", "kl_per_dimension")
        assert figure.files == ([f"{kind}.png"] if alone else [f"{kind}-ae.png", f"{kind}-vae.png"])
        assert len(figure.caption) > 100 and "seed" in figure.caption
        assert "eval split" in figure.caption.lower() and "Not shown" not in figure.caption
        for file in figure.files:
            path = tmp_path / "results" / file
            picture = plt.imread(path)
            assert min(picture.shape[:2]) > 250 and picture[..., :3].std() > 0.02
            assert path.stat().st_size < 150_000


def test_the_same_bytes_each_time_and_others_of_other_data(tmp_path: Path) -> None:
    study, record = made(tmp_path, ALL, size=2, classes=SHAPES)
    drawn(tmp_path, study, record, "once")
    drawn(tmp_path, study, record, "twice")
    other = made(tmp_path / "other", ALL, size=2, classes=SHAPES, scale=1.3, seeds=(7,))
    drawn(tmp_path / "other", *other)
    files = sorted(file.name for file in (tmp_path / "once").iterdir())
    assert len(files) == 9
    for name in files:
        first = (tmp_path / "once" / name).read_bytes()
        assert first == (tmp_path / "twice" / name).read_bytes()
        assert first != (tmp_path / "other/results" / name).read_bytes(), name


# What is asked of the pictures.


@pytest.fixture
def blocks(monkeypatch) -> list[Block]:
    """What image figures are asked to draw."""
    seen: list[Block] = []
    monkeypatch.setattr(walks, "image_blocks", lambda blocks, *_, **__: seen.extend(blocks))
    monkeypatch.setattr(walks, "image_rows", lambda rows, *_, **__: seen.append(Block("", rows)))
    return seen


def test_a_traversal_is_in_the_order_of_kl(tmp_path: Path, blocks: list[Block]) -> None:
    figures = [{"kind": "traversals", "runs": ["vae"]}]
    study, record = made(tmp_path, figures)
    drawn(tmp_path, study, record)
    ((_, rows, columns),) = [(block.heading, block.rows, block.columns) for block in blocks]
    assert columns == ("image", "-3", "-2", "-1", "0", "1", "2", "3")
    kl = record["rows"][1]["cells"][0]["latents"]["kl"]
    assert [name.split(",")[0] for name, _ in rows] == ["z3", "z2", "z1", "z4"]
    assert rows[0][0] == f"z3, KL {kl[2]:.3f}"
    path = tmp_path / "runs/vae/seed-0/latents.npz"
    assert (rows[0][1][0] == open_array(path, "eval.traversal_base")).all()
    assert (rows[1][1][0] == 255).all()
    assert (rows[1][1][1:] == open_array(path, "eval.traversals")[1]).all()
    # What is collapsed here the decoder still uses; the values are the columns'.
    assert not (rows[3][1][1] == rows[3][1][7]).all()


def test_an_autoencoders_dimensions_are_in_the_order_of_variance(tmp_path, blocks) -> None:
    study, record = made(tmp_path, [{"kind": "traversals", "runs": ["ae"]}])
    record["rows"][0]["cells"][0]["latents"]["variance"] = [0.5, 3.0, 0.25, 1.0]
    drawn(tmp_path, study, record)
    names = [name for name, _ in blocks[0].rows]
    assert [name.split(",")[0] for name in names] == ["z2", "z4", "z1", "z3"]
    assert names[0] == "z2, variance 3.000"


def test_zeroed_lines_say_how_far_the_mse_rises(tmp_path: Path, blocks: list[Block]) -> None:
    study, record = made(tmp_path, [{"kind": "zeroed", "runs": ["vae"]}])
    drawn(tmp_path, study, record)
    (block,) = blocks
    path = tmp_path / "runs/vae/seed-0/latents.npz"
    images = open_array(path, "eval.zeroed") / 255.0
    errors = ((images - open_array(path, "eval.zeroed_originals") / 255.0) ** 2).mean((1, 2, 3, 4))
    names = [name for name, _ in block.rows]
    assert names[:2] == ["original", f"reconstruction, MSE {errors[0]:.4f}"]
    expected = [f"z{d} = 0, MSE {errors[d] - errors[0]:+z.4f}" for d in (3, 2, 1, 4)]
    assert names[2:] == expected
    assert names[-1] == "z4 = 0, MSE +0.0000"  # it was zero before
    assert (block.rows[2][1] == open_array(path, "eval.zeroed")[3]).all()


@pytest.fixture
def canvases(monkeypatch) -> list[Any]:
    """The figures as they are saved, still open."""
    seen: list[Any] = []
    for module in (latents, dimensions):
        monkeypatch.setattr(module, "save_figure", lambda figure, *_, **__: seen.append(figure))
    yield seen
    plt.close("all")


def texts(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_few_classes_have_a_line_each_and_many_do_not(tmp_path: Path, canvases) -> None:
    kind = [{"kind": "latent_histograms"}]
    drawn(tmp_path, *made(tmp_path, kind, size=2, classes=SHAPES))
    drawn(tmp_path / "ten", *made(tmp_path / "ten", kind, classes=[str(n) for n in range(10)]))
    lines = [texts(canvas) for canvas in canvases]
    assert lines[0] == [*SHAPES, "N(0, 1)"] and lines[1] == [*SHAPES, "means", "N(0, 1)"]
    assert lines[3] == ["eval split", "train split", "means", "N(0, 1)"]
    for canvas in canvases:  # none is cut
        box = canvas.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= canvas.bbox.x1
        assert box.y1 <= min(axis.get_tightbbox().y0 for axis in canvas.axes)


def test_a_histogram_is_of_z_and_has_its_w1(tmp_path: Path, canvases) -> None:
    study, record = made(tmp_path, [{"kind": "latent_histograms", "runs": ["vae"]}])
    drawn(tmp_path, study, record)
    z = open_array(tmp_path / "runs/vae/seed-0/latents.npz", "eval.z")
    entry = record["rows"][1]["cells"][0]["latents"]
    assert len(canvases[0].axes) == 4
    for d, axis in enumerate(canvases[0].axes):
        assert axis.get_title() == f"z{d + 1}: W1 {entry['w1'][d]:.3g}"
        values, edges, _ = axis.patches[0].get_data()
        inside = ((z[:, d] >= edges[0]) & (z[:, d] <= edges[-1])).mean()
        assert (values * np.diff(edges)).sum() == pytest.approx(inside)
        means = axis.patches[-1].get_data().values
        # The collapsed dimension's means are one bin, and that is higher than the panel.
        assert (np.count_nonzero(means) == 1) == (d == 3)
    assert means.max() > axis.get_ylim()[1] > 0.4


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_normal_density_is_seen_beside_any_embedding(tmp_path, canvases, scale) -> None:
    how = {"scale": scale}
    drawn(tmp_path, *made(tmp_path, [{"kind": "latent_histograms", "runs": ["ae"]}], **how))
    axis = canvases[0].axes[0]
    low, high = axis.get_xlim()
    assert low <= -3.5 and high >= 3.5
    heights = axis.patches[0].get_data().values
    assert axis.get_ylim()[1] < 2 and (heights.max() > axis.get_ylim()[1] / 4)
    (normal,) = axis.get_lines()
    assert normal.get_ydata().max() > 0.2


def test_a_scatter_has_the_two_widest_dimensions_and_every_class_once(tmp_path, canvases) -> None:
    study, record = made(tmp_path, [{"kind": "latent_scatter"}], classes=SHAPES)
    drawn(tmp_path, study, record)
    (canvas,) = canvases
    assert texts(canvas) == [*SHAPES, "2σ of N(0, I)"]
    panel = canvas.axes[1]
    means = open_array(tmp_path / "runs/vae/seed-0/latents.npz", "eval.mean")
    assert {panel.get_xlabel(), panel.get_ylabel()} == {"z2", "z3"}
    points = np.concatenate([line.get_xydata() for line in panel.get_lines()])
    widest = means[:, [int(panel.get_xlabel()[1]) - 1, int(panel.get_ylabel()[1]) - 1]]
    assert np.allclose(np.sort(points, 0), np.sort(widest, 0))
    assert panel.get_aspect() == 1


def test_correlations_are_signed_and_the_largest_is_over_seeds(tmp_path: Path, canvases) -> None:
    how = {"classes": SHAPES, "seeds": (0, 1, 2)}
    study, record = made(tmp_path, [{"kind": "correlations"}], **how)
    drawn(tmp_path, study, record)
    heat = canvases[0].axes[1]
    image = np.asarray(heat.get_images()[0].get_array())
    cells = record["rows"][1]["cells"]
    assert np.allclose(image, list(cells[0]["latents"]["correlations"].values()))
    assert image[1, 0] == pytest.approx(-1) and (image[:, 3] == 0).all()
    largest = [max(np.abs(cell["latents"]["correlations"]["size"])) for cell in cells]
    beside = f"{np.mean(largest):.2f} ± {np.std(largest, ddof=1):.2f}"
    written = [text.get_text() for text in heat.texts]
    assert beside in written and "-1.00" in written
    assert len(heat.patches) == 1 and heat.patches[0].get_x() == 2.5, "z4 is hatched"
    # What an inactive dimension goes with by chance counts for nothing.
    for cell in cells:
        cell["latents"]["correlations"]["size"][3] = 0.999
    drawn(tmp_path, study, record)
    assert beside in [text.get_text() for text in canvases[1].axes[1].texts]


def test_kl_is_sorted_in_each_seed_and_the_active_are_counted(tmp_path: Path, canvases) -> None:
    study, record = made(tmp_path, [{"kind": "kl_per_dimension"}], seeds=(0, 1))
    entries = [cell["latents"] for cell in record["rows"][1]["cells"]]
    entries[0]["kl"], entries[1]["kl"] = [1.0, 0.0, 4.0, 2.0], [5.0, 3.0, 2.0, 1.0]
    entries[0]["variance"], entries[1]["variance"] = [0.5, 0.02, 0.0, 0.0], [1.0, 0.0, 0.0, 0.001]
    drawn(tmp_path, study, record)
    (canvas,) = canvases
    left, right = canvas.axes
    (line,) = left.get_lines()  # the AE has none
    assert list(line.get_ydata()) == [4.5, 2.5, 1.5, 0.5]
    assert right.get_yscale() == "log" and len(right.get_lines()) == 3
    assert right.get_lines()[1].get_ydata()[0] == 0.75
    assert right.get_lines()[1].get_ydata()[-1] == pytest.approx(1e-5)
    assert texts(canvas) == ["AE: 4 of 4 active", "VAE: 1.5 of 4 active"]


def test_autoencoders_alone_have_no_kl(tmp_path: Path, canvases) -> None:
    drawn(tmp_path, *made(tmp_path, [{"kind": "kl_per_dimension", "runs": ["ae"]}]))
    left, right = canvases[0].axes
    assert [text.get_text() for text in left.texts] == ["no model has a Gaussian posterior"]
    assert len(right.get_lines()) == 2
