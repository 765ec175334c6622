"""`--require`: what is asked of a run that cannot be had is said before anything is done."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import reproduce
from evaluate.available import check_required, missing_metrics, networks_for
from evaluate.features.inception import FILE
from evaluate.metric import OF_FEATURES, feature_key
from study.datasets import Dataset, open_dataset
from study.errors import StudyError, run_command
from study.schema import BernoulliLikelihood, Evaluation, FiniteData
from tests import made
from tests.reproducing import folders, write_study

PLAIN = Evaluation(lpips=[], likelihood=BernoulliLikelihood(name="bernoulli"))
EVERY = Evaluation(
    lpips=[], features=["classifier"], nll_samples=3, finite=FiniteData(), samplers=["prior"]
)
NOT = "FID (classifier) is not measured:"
NO_LABELS = "its training images have no labels, factors or attributes to tell apart"


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch) -> None:
    """A machine that has no network's weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def plain(data: Path) -> Dataset:
    return open_dataset(data, "tiny")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("labelled")
    made.dataset(folder, beside={"labels": np.arange(70) % 3})
    return open_dataset(folder, "tiny")


@pytest.mark.parametrize(
    ("word", "changes", "message"),
    [
        (
            "FID (Inception)",
            {"features": ["inception"]},
            f"FID (Inception) is not measured: {FILE} was not found; ",
        ),
        ("kid (inception)", {"features": ["inception"]}, "KID (Inception) is not measured: "),
        ("FID (Inception)", {}, "evaluation.features does not ask for it"),
        (
            "FID (Inception)",
            {"features": ["classifier"]},
            "evaluation.features does not ask for it",
        ),
        ("FID (classifier)", {"features": ["classifier"]}, f"{NOT} {NO_LABELS}"),
        ("coverage (classifier)", {}, "evaluation.features does not ask for it"),
        ("NLL", {}, "evaluation.nll_samples does not ask for it"),
        ("nll", {"nll_samples": 0}, "evaluation.nll_samples does not ask for it"),
        ("LPIPS", {}, "evaluation.lpips does not ask for it"),
        ("LPIPS (AlexNet)", {}, "evaluation.lpips does not ask for it"),
        ("bits/dim", {}, "evaluation.likelihood does not ask for it"),
        ("coverage@t", {}, "evaluation.finite does not ask for it"),
        ("D_KL (as published)", {}, "evaluation.finite does not ask for it"),
        ("reconstruction bits", {}, "evaluation.finite does not ask for it"),
        ("SIM", {}, "not one of MSE, PSNR,"),
    ],
)
def test_what_cannot_be_had(word: str, changes: dict, message: str, plain: Dataset) -> None:
    how = PLAIN.model_copy(update=changes)
    with pytest.raises(StudyError) as raised:
        check_required(["MSE", word], how, None, plain)
    assert str(raised.value).startswith(f"--require {word}: {message}")
    assert raised.value.status == 2


def test_a_near_miss_is_suggested(plain: Dataset) -> None:
    with pytest.raises(StudyError, match="did you mean 'ssim'"):
        check_required(["SSIN"], PLAIN, None, plain)


def test_what_can_be_had_is_let_pass(plain: Dataset, labelled: Dataset) -> None:
    check_required(["MSE", "elbo", "KL", "SSIM", "nn train", "diversity"], PLAIN, None, plain)
    words = ["NLL", "D_KL", "NN valid", "reconstruction bits", "FID (classifier)", "bits/dim"]
    check_required(words, EVERY, None, labelled)
    # Before there are data, weights alone decide.
    check_required(["FID (classifier)"], EVERY, None)


def test_what_is_missing_is_every_metric_of_the_network(plain: Dataset, labelled: Dataset) -> None:
    how = EVERY.model_copy(update={"features": ["classifier", "inception"]})
    both = missing_metrics(how, plain, None)
    assert both == {
        **{feature_key(key, "classifier"): NO_LABELS for key in OF_FEATURES},
        **{feature_key(key, "inception"): f"{FILE} was not found" for key in OF_FEATURES},
    }
    assert missing_metrics(how, labelled, None).keys() == {
        feature_key(key, "inception") for key in OF_FEATURES
    }
    assert missing_metrics(EVERY, labelled, None) == {} == missing_metrics(PLAIN, plain, None)
    without = networks_for(how, plain, None, torch.device("cpu"))
    assert without.features == {} and without.missing == both


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--require", "FID (Inception)", "--set", 'evaluation.features=["inception"]'],
            f"--require FID (Inception): FID (Inception) is not measured: {FILE} was not found",
        ),
        (["--require", "NLL"], "--require NLL: evaluation.nll_samples does not ask for it"),
        (["--require", "FDI"], "--require FDI: not one of"),
    ],
)
def test_reproduce_stops_before_anything_runs(
    words: list[str], message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    study, work = write_study(tmp_path / "study"), tmp_path / "work"
    monkeypatch.setattr(sys, "argv", ["reproduce.py", str(study), *folders(work), *words])
    with pytest.raises(SystemExit) as ended:
        run_command("reproduce", reproduce.main)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith(f"reproduce: {message}")
    assert not work.exists()


def test_reproduce_trains_nothing_where_the_data_cannot_give_it(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """A classifier is asked for, and the data have nothing to tell apart."""
    study, work = write_study(tmp_path / "study"), tmp_path / "work"
    words = ["--require", "FID (classifier)", "--set", 'evaluation.features=["classifier"]']
    monkeypatch.setattr("evaluate.features.find_targets", lambda dataset: NO_LABELS)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", str(study), *folders(work), *words])
    with pytest.raises(SystemExit) as ended:
        run_command("reproduce", reproduce.main)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(f"reproduce: --require FID (classifier): {NOT} {NO_LABELS}\n")
    assert {path.name for path in work.iterdir()} == {"data"}
