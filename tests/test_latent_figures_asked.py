"""Figures of the latents: what a study may ask for, and rows that have none."""

from pathlib import Path

import numpy as np
import pytest

from evaluate.figures.check import OF_LATENTS, check_figures
from study.errors import StudyError
from tests.test_latent_figures import ALL, RUNS, SHAPES, drawn, made, study_with


@pytest.mark.parametrize("kind", OF_LATENTS)
def test_latents_that_no_run_is_measured_on_are_one_line(tmp_path: Path, kind: str) -> None:
    check_figures(study_with(tmp_path, [{"kind": kind}]))
    study = study_with(tmp_path, [{"kind": kind, "name": "mine"}], set={})
    with pytest.raises(StudyError, match=r"evaluation\.latents") as raised:
        check_figures(study)
    assert str(raised.value).startswith(f"{tmp_path / 'study.json'}: figures.mine: none of its")
    assert "\n" not in str(raised.value)


def test_one_run_with_latents_is_enough_but_it_must_be_one_of_the_figures(tmp_path: Path) -> None:
    runs = [RUNS[0] | {"set": {"evaluation.latents": {}}}, RUNS[1]]
    more = {"set": {}, "runs": runs}
    check_figures(study_with(tmp_path, [{"kind": "zeroed"}], **more))
    check_figures(study_with(tmp_path, [{"kind": "zeroed", "runs": ["ae"]}], **more))
    with pytest.raises(StudyError, match="none of its runs"):
        check_figures(study_with(tmp_path, [{"kind": "zeroed", "runs": ["vae"]}], **more))


def test_a_row_without_latents_is_left_out_and_named(tmp_path: Path) -> None:
    study, record = made(tmp_path, ALL, classes=SHAPES)
    (tmp_path / "runs/ae/seed-0/latents.npz").unlink()
    record["rows"][0]["cells"][0]["latents"] = None
    for figure in drawn(tmp_path, study, record):
        assert figure.files and "-ae" not in " ".join(figure.files)
        assert figure.caption.endswith(": AE.") and "Not shown, for" in figure.caption


def test_an_array_that_is_missing_leaves_its_row_out(tmp_path: Path) -> None:
    """Evaluated before: the numbers may be there, and the arrays not."""
    study, record = made(tmp_path, [{"kind": "zeroed"}, {"kind": "latent_scatter"}])
    path = tmp_path / "runs/vae/seed-0/latents.npz"
    with np.load(path) as arrays:
        kept = {key: arrays[key] for key in arrays.files if "zeroed" not in key}
    np.savez(path, **kept)
    zeroed, scatter = drawn(tmp_path, study, record)
    assert zeroed.files == ["zeroed-ae.png"] and zeroed.caption.endswith(": VAE.")
    assert "Not shown" not in scatter.caption


def test_a_figure_without_rows_says_so(tmp_path: Path) -> None:
    study, record = made(tmp_path, ALL)
    for row in record["rows"]:
        del row["cells"][0]["latents"]
    for figure in drawn(tmp_path, study, record):
        assert figure.files == [] and figure.caption.startswith("Not drawn: ")
