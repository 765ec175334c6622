"""Latents beside other numbers: what does not ask for them, what was stopped, what they cost."""

from pathlib import Path

import numpy as np
import pytest

from evaluate import partial
from evaluate.estimate import estimate_evaluation
from evaluate.measure import Meter
from evaluate.partial import Partial, blocks
from evaluate.run import evaluate_run, measured_so
from study.datasets import open_dataset
from study.rundir import RunDirectory
from study.runs import load_run
from study.schema import Evaluation, LatentSpace
from tests import made
from tests.made_work import Cut, CutShort, bits, work
from tests.test_latent_space import ASKED, HERE, PLAIN
from tests.training import train
from train.latents import latents_of
from train.run import load_trained, run_identity


@pytest.fixture(scope="module")
def vae(tmp_path_factory, data: Path) -> Path:
    return train(tmp_path_factory.mktemp("vae"), data)


def test_what_was_measured_before_stays_to_the_bit(vae: Path, data: Path) -> None:
    """With and without it every other number is the same: it draws from streams of its own."""
    dataset = open_dataset(data, "tiny")
    latents = latents_of(load_trained(vae)[1].eval())
    plain = bits(work(latents, dataset, how=PLAIN).measure())
    more = bits(work(latents, dataset, how=HERE).measure())
    assert {key: more[key] for key in plain} == plain
    added = {key.split("/")[-1] for key in more.keys() - plain.keys() if "image" in key}
    assert added == {"re-encoding", "sharpness"}


def test_an_older_entry_is_of_runs_that_ask_for_nothing_new(tmp_path: Path, data: Path) -> None:
    out, dataset = train(tmp_path, data), open_dataset(data, "tiny")
    entry = evaluate_run(out, data)
    assert "latents" not in entry and not (out / "latents.npz").exists()
    for key in ("latents", "sharpness"):
        del entry["evaluation"][key]
    how = Evaluation.model_validate(made.EVALUATION)
    assert measured_so(entry, how, "eval", dataset, None)
    for update in ({"latents": LatentSpace()}, {"sharpness": True}):
        assert not measured_so(entry, how.model_copy(update=update), "eval", dataset, None)


def test_latents_of_other_settings_are_dropped(tmp_path: Path, data: Path) -> None:
    out, dataset = train(tmp_path, data, evaluation=ASKED), open_dataset(data, "tiny")
    evaluate_run(out, data)
    directory = RunDirectory(out)
    assert directory.latents.is_file()
    run = load_run(made.run_file(tmp_path))
    directory.take(run_identity(run, dataset))
    assert not directory.latents.exists()


def test_stopped_it_goes_on_to_the_same_bits(
    vae: Path, data: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(partial, "BLOCK", 8)
    dataset, latents = open_dataset(data, "tiny"), latents_of(load_trained(vae)[1].eval())

    def measure(**more) -> dict:
        return bits(work(latents, dataset, how=HERE, batch_size=3, **more).measure())

    whole, before = measure(), len(blocks(25))
    passes = before + len(blocks(40))
    # In the split's latents, in the training split's, between the passes, in the samples.
    for after in (before, before + 1, 2 * before, 2 * before + 2, before + passes, -1):
        folder = tmp_path / str(after)
        count = after if after >= 0 else before + passes + 2
        with pytest.raises(Cut):
            measure(partial=CutShort(folder, {"of": "this"}, count))
        assert len(list(folder.glob("*.npz"))) == count
        with monkeypatch.context() as patch:
            if count >= before:  # what is kept is not measured again
                patch.setattr(Meter, "_of_data", lambda *a: pytest.fail("measured again"))
            assert measure(partial=Partial(folder, {"of": "this"})) == whole, after


def test_its_cost_is_estimated(tmp_path: Path, data: Path) -> None:
    dataset = open_dataset(data, "tiny")
    asked = load_run(made.run_file(tmp_path, evaluation=ASKED))
    plain = load_run(made.run_file(tmp_path, name="plain"))
    found, less = (estimate_evaluation(run, dataset, "eval", None) for run in (asked, plain))
    out = train(tmp_path, data, evaluation=ASKED)
    evaluate_run(out, data)
    with np.load(RunDirectory(out).latents) as arrays:
        written = sum(arrays[name].nbytes for name in arrays.files)
    assert found.latents > 0 == less.latents
    assert found.files - less.files == pytest.approx(written, rel=0.05)
