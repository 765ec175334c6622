"""Figures: what a study may ask for, what is drawn of what, and the same bytes each time."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from evaluate.figures import images
from evaluate.figures.charts import Axis
from evaluate.figures.check import OF_LATENTS, check_figures
from evaluate.figures.curves import _draw_panel
from evaluate.figures.draw import draw_figures
from evaluate.figures.source import Drawn
from evaluate.figures.terms import label, panels, terms_of
from evaluate.metric import Metric
from evaluate.pictures import Block, image_rows
from evaluate.registry import KEYS
from study.errors import StudyError
from study.expansion import Study, load_study
from study.files import write_arrays
from study.schema import FigureKind, StudyFigure
from tests.made_record import entry
from tests.test_study import write_study

KINDS = [kind for kind in FigureKind.__args__ if kind not in OF_LATENTS]
BETAS = [4.0, 0.5, 10.0]
RUNS = [
    {"name": "vae", "config": "vae.json", "label": "VAE"},
    {
        "name": "beta",
        "config": "beta.json",
        "label": "β-VAE (β = {model.beta})",
        "grid": {"model.beta": BETAS},
    },
]


def study_with(folder: Path, figures: list[dict], **more) -> Study:
    return load_study(write_study(folder, runs=RUNS, figures=figures, **more))


# What a study may ask for.


def test_three_figures_are_the_default(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    check_figures(study)
    kinds = [figure.kind for figure in study.config.figures]
    assert kinds == ["reconstructions", "generations", "loss_curves"]


@pytest.mark.parametrize(
    ("figures", "error"),
    [
        ([{"kind": "radar"}, {"kind": "radar"}], "figures: two are called 'radar'"),
        ([{"kind": "radar", "runs": ["bta"]}], r"figures.radar.runs: 'bta' .*mean 'beta'"),
        ([{"kind": "beta_grid", "runs": ["vae"]}], "'vae' has no grid over model.beta"),
        ([{"kind": "radar", "metrics": ["SSMI", "MSE", "BCE"]}], "'SSMI' is not one of .*'SSIM'"),
        ([{"kind": "loss_curve", "metrics": list(KEYS)}], "only a radar has metrics"),
    ],
)
def test_a_figure_that_cannot_be_is_one_line(tmp_path: Path, figures: list, error: str) -> None:
    with pytest.raises(StudyError, match=error) as raised:
        check_figures(study_with(tmp_path, figures))
    assert str(raised.value).startswith(f"{tmp_path / 'study.json'}: figures") and "\n" not in str(
        raised.value
    )


def test_a_figure_of_no_kind_names_the_kinds(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="figures.0.kind: .*'rate_distortion'"):
        study_with(tmp_path, [{"kind": "rader"}])


def test_a_beta_grid_wants_a_grid_and_a_radar_a_table(tmp_path: Path) -> None:
    table = {"name": "t", "title": "T", "of": "generation", "metrics": ["MSE"]}
    runs = [RUNS[0]]
    study = load_study(write_study(tmp_path, runs=runs, figures=[{"kind": "beta_grid"}]))
    with pytest.raises(StudyError, match="no run of this study has a grid over model.beta"):
        check_figures(study)
    study = study_with(tmp_path, [{"kind": "radar"}], tables=[table])
    with pytest.raises(StudyError, match="figures.radar.metrics: this key is missing"):
        check_figures(study)


# What is drawn.


def made_study(
    folder: Path, figures: list[dict], shape=(1, 28, 28), count=4, epochs=1, seeds=(0,)
) -> tuple[Study, dict]:
    """A study with run directories as evaluation leaves them below `folder / runs`."""
    table = {"name": "t", "title": "T", "metrics": ["MSE", "SSIM", "GMSD", "KL"]}
    study = study_with(folder, figures, tables=[table], seeds=list(seeds))
    random = np.random.default_rng(0)
    rows = []
    for number, (name, cells) in enumerate(study.rows().items()):
        gathered = []
        for cell in cells:
            two = number == 0
            samplers = {"uniform": "codes drawn uniformly", "marginal": "codes"} if two else {}
            samplers = samplers or {"prior": "z ~ N(0, I)"}
            path = folder / "runs" / cell.directory
            leave_pictures(path, random, (count, *shape), list(samplers))
            leave_history(path, epochs, two)
            metrics = {k: entry(k, 0.1 + number / 10 + cell.seed / 100) for k in ("MSE", "SSIM")}
            metrics |= {"KL": entry("KL", 30.0 - number)} if not two else {}
            metrics |= {"GMSD": entry("GMSD", 0.5)} if number < 3 else {}
            drawn = {key: {"title": title, "metrics": {}} for key, title in samplers.items()}
            config = cell.run.resolved()
            gathered.append({"metrics": metrics, "generations": drawn, "config": config})
        rows.append({"name": name, "label": cells[0].label, "cells": gathered})
    on = {"images": 9, "data": {"subset": None}}
    for row in rows:
        row["cells"] = [cell | on for cell in row["cells"]]
    tables = [table.model_dump() for table in study.config.tables]
    return study, {"study": "made", "split": "eval", "rows": rows, "tables": tables}


def leave_pictures(path: Path, random, shape: tuple, samplers: list[str]) -> None:
    def some() -> np.ndarray:
        return random.integers(0, 256, shape, dtype=np.uint8)

    arrays = {"index": np.arange(shape[0]), "originals": some(), "reconstructions": some()}
    for key in samplers:
        arrays |= {f"generations.{key}": some(), f"self_reconstructions.{key}": some()}
        arrays[f"neighbours.{key}"] = some()
    path.mkdir(parents=True)
    write_arrays(path / "pictures.npz", {f"eval.{key}": value for key, value in arrays.items()})


def leave_history(path: Path, epochs: int, adversarial: bool) -> None:
    lines = []
    for epoch in range(1, epochs + 1):
        terms = {"loss": 5.0 / epoch, "recon_loss": 4.0 / epoch, "reg_loss": 1.0}
        if adversarial:
            terms |= {"decoder_loss": -1.0, "discriminator_loss": 1.3, "d_real": 0.6}
            terms |= {"updates_decoder": 0.5, "perplexity": 30.0, "pixel_mse": 0.02}
        lines.append({"epoch": epoch, "train": terms, "eval": terms})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "history.jsonl").write_text(text)


def drawn_in(study: Study, record: dict, folder: Path) -> list[Drawn]:
    made = draw_figures(study, record, folder / "runs", folder / "results")
    assert [figure.file for figure, _ in made] == [f.file for f in study.config.figures]
    return [drawn for _, drawn in made]


def drawn_of(folder: Path, figures: list[dict], **how) -> list[Drawn]:
    study, record = made_study(folder, figures, **how)
    return drawn_in(study, record, folder)


@pytest.mark.parametrize(
    "how",
    [
        {"shape": (1, 28, 28), "count": 4, "epochs": 1, "seeds": (0,)},
        {"shape": (3, 16, 16), "count": 16, "epochs": 3, "seeds": (0, 1, 2)},
    ],
    ids=["grey", "colour"],
)
def test_every_kind_is_drawn_and_captioned(tmp_path: Path, how: dict) -> None:
    drawn = drawn_of(tmp_path, [{"kind": kind} for kind in KINDS], **how)
    assert len(drawn) == len(KINDS)
    for figure in drawn:
        assert figure.files and len(figure.caption) > 40 and figure.title
        for file in figure.files:
            picture = plt.imread(tmp_path / "results" / file)
            assert min(picture.shape[:2]) > 200 and picture[..., :3].std() > 0.02
    by_kind = dict(zip(KINDS, drawn, strict=True))
    rows = ["vae", "beta-beta4.0", "beta-beta0.5", "beta-beta10.0"]
    assert by_kind["three_rows"].files == [f"three_rows-{row}.png" for row in rows]
    assert by_kind["loss_curve"].files == [f"loss_curve-{row}.png" for row in rows]
    assert by_kind["beta_grid"].files == ["beta_grid-beta.png"]


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    kinds = [{"kind": kind} for kind in ("generations", "radar", "loss_curves", "rate_distortion")]
    study, record = made_study(tmp_path, kinds)
    for to in ("once", "twice"):
        draw_figures(study, record, tmp_path / "runs", tmp_path / to)
    for file in (tmp_path / "once").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes()


def test_missing_rows_are_skipped_and_a_figure_without_rows_says_so(tmp_path: Path) -> None:
    figures = [{"kind": "three_rows"}, {"kind": "loss_curve", "runs": ["vae"], "name": "alone"}]
    study, record = made_study(tmp_path, figures)
    record["rows"][0]["cells"][0]["metrics"] = None
    three, alone = drawn_in(study, record, tmp_path)
    assert len(three.files) == 3 and "three_rows-vae.png" not in three.files
    assert alone.files == [] and alone.caption.startswith("Not drawn")


@pytest.fixture
def blocks(monkeypatch) -> list[list[Block]]:
    """What image figures are asked to draw."""
    seen: list[list[Block]] = []
    monkeypatch.setattr(images, "image_blocks", lambda blocks, *_, **__: seen.append(blocks))
    monkeypatch.setattr(images, "image_rows", lambda rows, *_: seen.append([Block("", rows)]))
    return seen


def test_a_beta_grid_is_in_the_order_of_beta(tmp_path: Path, blocks) -> None:
    drawn_of(tmp_path, [{"kind": "beta_grid"}])
    ((above, below),) = blocks
    assert [name for name, _ in above.rows] == ["original", "β = 0.5", "β = 4", "β = 10"]
    assert [name for name, _ in below.rows] == ["β = 0.5", "β = 4", "β = 10"]
    with np.load(tmp_path / "runs/beta-beta10.0/seed-0/pictures.npz") as arrays:
        assert (above.rows[3][1] == arrays["eval.reconstructions"]).all()
        assert (below.rows[2][1] == arrays["eval.generations.prior"]).all()


def test_samplers_are_rows_of_their_own(tmp_path: Path, blocks) -> None:
    figures = [{"kind": "three_rows", "runs": ["vae"]}, {"kind": "self_reconstructions"}]
    drawn_of(tmp_path, figures)
    (three,), again = blocks
    codes = "codes of the empirical marginal"
    names = ["original", "reconstruction", "generated, uniform codes", f"generated, {codes}"]
    assert [name for name, _ in three.rows] == names
    headings = [block.heading for block in again]
    assert headings[:3] == ["VAE, uniform codes", f"VAE, {codes}", "β-VAE (β = 4)"]
    with np.load(tmp_path / "runs/vae/seed-0/pictures.npz") as arrays:
        assert (again[1].rows[0][1] == arrays["eval.generations.marginal"]).all()
        assert (again[1].rows[1][1] == arrays["eval.self_reconstructions.marginal"]).all()


def test_a_row_that_pictures_other_images_is_left_out_and_named(tmp_path: Path) -> None:
    kinds = ("reconstructions", "beta_grid", "generations", "self_reconstructions")
    study, record = made_study(tmp_path, [{"kind": kind} for kind in kinds])
    other = tmp_path / "runs/beta-beta4.0/seed-0"
    (other / "pictures.npz").unlink()
    arrays = {"index": np.arange(2)}
    names = ("originals", "reconstructions", "generations.prior", "self_reconstructions.prior")
    arrays |= {name: np.zeros((2, 1, 28, 28), np.uint8) for name in names}
    write_arrays(other / "pictures.npz", {f"eval.{key}": value for key, value in arrays.items()})
    drawn = drawn_in(study, record, tmp_path)
    told = ["Not shown" in figure.caption for figure in drawn]
    assert told == [True, True, False, False] and all(figure.files for figure in drawn)
    assert drawn[0].caption.endswith("other images were pictured: β-VAE (β = 4).")


# Radar.


@pytest.mark.parametrize(("better", "scaled"), [("lower", [1, 0, 0.75]), ("higher", [0, 1, 0.25])])
def test_a_radars_axis_has_the_better_end_outside(better: str, scaled: list) -> None:
    axis = Axis(Metric("M", "M", better, "", ""), [1.0, 5.0, 2.0])
    assert axis.scaled() == scaled
    rim, inside = ("1.000", "5.000") if better == "lower" else ("5.000", "1.000")
    assert axis.label.endswith(f"rim {rim}\ninside {inside}")


def test_a_radars_axis_of_equals_and_of_one_that_lacks_it() -> None:
    axis = Axis(Metric("M", "M", "lower", "", ""), [2.0, None, 2.0])
    assert axis.scaled()[::2] == [1.0, 1.0] and np.isnan(axis.scaled()[1])


def test_a_radar_says_what_it_leaves_out(tmp_path: Path) -> None:
    (figure,) = drawn_of(tmp_path, [{"kind": "radar"}])
    assert "KL is left out: it has no better end." in figure.caption
    assert "β-VAE (β = 10) has no GMSD" in figure.caption


def test_a_radar_of_two_axes_is_not_drawn(tmp_path: Path) -> None:
    about = {"kind": "radar", "metrics": ["MSE", "SSIM", "KL", "BCE"]}
    (figure,) = drawn_of(tmp_path, [about])
    assert figure.files == [] and "fewer than three axes" in figure.caption
    assert "BCE is left out: no model has it." in figure.caption


# Curves.


def test_terms_stand_in_the_fields_words_and_what_is_no_loss_apart() -> None:
    terms = ["loss", "recon_loss", "vq_loss", "perplexity", "usage", "pixel_mse", "own_term"]
    made = panels(terms)
    assert [panel.name for panel in made] == [
        "loss",
        "terms of the loss",
        "share (0 to 1)",
        "perplexity",
        "pixel MSE",
    ]
    words = [label(term, terms) for term in made[1].terms]
    assert words == ["reconstruction", "quantisation", "own_term"]
    gan = ["recon_loss", "discriminator_loss"]
    assert label("recon_loss", gan) == "reconstructed features"


def history(*values: float) -> list[list[dict]]:
    lines = [{"epoch": n, "train": {"loss": v}, "eval": {}} for n, v in enumerate(values, 1)]
    return [lines]


@pytest.mark.parametrize(
    ("values", "marker", "scale"),
    [
        ((3.0,), "o", "linear"),
        ((3.0, 2.0), "None", "linear"),
        ((300.0, 2.0), "None", "log"),
        ((300.0, -2.0), "None", "symlog"),
        ((300.0, 0.0, 1.0), "None", "symlog"),
    ],
)
def test_markers_and_scales(values: tuple, marker: str, scale: str) -> None:
    histories = history(*values)
    figure, axis = plt.subplots()
    (panel,) = panels(terms_of(histories))
    _draw_panel(axis, panel, histories, terms_of(histories))
    (line,) = axis.get_lines()
    assert (line.get_marker(), axis.get_yscale()) == (marker, scale)
    assert list(line.get_ydata()) == list(values)
    plt.close(figure)


def test_five_terms_have_five_colours() -> None:
    terms = {f"t{n}": float(n + 1) for n in range(5)}
    histories = [[{"epoch": 1, "train": terms, "eval": terms}]]
    figure, axis = plt.subplots()
    (panel,) = panels(list(terms))
    _draw_panel(axis, panel, histories, list(terms))
    assert len({line.get_color() for line in axis.get_lines()}) == 5
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(terms)
    plt.close(figure)


def test_a_figures_file_is_its_name() -> None:
    assert StudyFigure(kind="radar").file == "radar"
    assert StudyFigure(kind="radar", name="star").file == "star"


def test_rows_of_images_are_cut_to_the_shortest(tmp_path: Path) -> None:
    """Another number in the same width would squeeze the images."""
    drawn = np.random.default_rng(0).integers(0, 256, (6, 1, 28, 28)).astype(np.uint8)
    for name, counts in {"cut": (6, 4), "same": (4, 4), "turned": (4, 6)}.items():
        image_rows([("a", drawn[: counts[0]]), ("b", drawn[: counts[1]])], "t", tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in ("cut", "same", "turned")}) == 1
