"""What chooses the best model is the number that evaluation prints."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from evaluate.registry import metrics_for
from evaluate.run import evaluate_run
from study.datasets import open_dataset
from study.errors import StudyError
from study.rundir import RunDirectory
from study.runs import Run, load_run
from study.schema import Evaluation
from study.schema_training import Engine
from tests import made, made_pythae
from tests.training import train
from train.dataset import to_unit
from train.models import build_model
from train.run import load_trained
from train.selection import Selection, check_selection

METRICS = ("MSE", "BCE", "SSIM", "GMSD")


def batches(data: Path, size: int) -> list[dict[str, torch.Tensor]]:
    """The eval split of `tiny` as a trainer's eval loader gives it."""
    images = open_dataset(data, "tiny").images("eval")
    return [{"data": to_unit(images[i : i + size])} for i in range(0, len(images), size)]


def taken(selection: Selection, model: Any, data: Path, size: int) -> dict[str, float]:
    """One epoch's eval step, as the trainer does it."""
    with torch.no_grad():
        for inputs in batches(data, size):
            selection.add(inputs, model(inputs))
    return selection.take()


def run_of(tmp_path: Path, side: int, select: str = "loss") -> Run:
    run = load_run(made.run_file(tmp_path, "AE", engine={"select": select}))
    return run.with_shape((1, side, side))


def built(tmp_path: Path, side: int) -> Any:
    return build_model(run_of(tmp_path, side))


@pytest.mark.parametrize("kind", ["AE", "VAE", "VQVAE", "VAEGAN"])
def test_is_the_number_that_evaluation_prints(kind: str, tmp_path: Path, data: Path) -> None:
    networks = {"networks": {"name": "convnet28", "width": 2}} if kind == "VAEGAN" else {}
    out = train(tmp_path, data, kind, **networks)
    evaluate_run(out, data)
    entry = json.loads(RunDirectory(out).metrics.read_text())["splits"]["eval"]["metrics"]
    _, model = load_trained(out)
    for key in METRICS:
        selection = Selection(key, model)
        got = taken(selection, model, data, 7)
        assert got.keys() == {key} == {selection.key}
        assert got[key] == pytest.approx(entry[key]["mean"], rel=1e-6)
        # No draw, whatever the batches; and nothing is left of the epoch before.
        torch.manual_seed(9)
        assert taken(selection, model, data, 25)[key] == pytest.approx(got[key], rel=1e-6)
        assert selection.take() == {}


@pytest.mark.parametrize("kind", made_pythae.MODELS)
def test_every_model_can_be_chosen_by_a_metric(kind: str, tmp_path: Path, data: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(made_pythae.run_config(kind, engine={"select": "MSE"})))
    run = load_run(file).with_shape((1, 28, 28))
    model = build_model(run).eval()
    selection = Selection(run.config.engine.select, model)
    for inputs in batches(data, 10):
        selection.add(inputs, {})
    assert 0 < selection.take()["MSE"] < 1


def test_the_loss_needs_nothing_of_it(tmp_path: Path, data: Path) -> None:
    model = built(tmp_path, 28).eval()
    selection = Selection("loss", model)
    assert taken(selection, model, data, 10) == {} and selection.key == "loss"
    assert selection.better(1.0, 2.0) and not selection.better(2.0, 1.0)


def test_goes_on_from_its_state(tmp_path: Path, data: Path) -> None:
    model = built(tmp_path, 28).eval()
    whole, first, second = (Selection("SSIM", model) for _ in range(3))
    parts = batches(data, 10)
    for inputs in parts:
        whole.add(inputs, {})
    first.restore(second.state(), "cpu")
    first.add(parts[0], {})
    second.restore(first.state(), "cpu")
    for inputs in parts[1:]:
        second.add(inputs, {})
    assert second.take() == whole.take()


def test_directions_are_the_registrys(tmp_path: Path, data: Path) -> None:
    model = built(tmp_path, 28)
    registry = metrics_for(Evaluation())
    names = get_args(Engine.model_fields["select"].annotation)
    assert set(names) == {"loss", "LPIPS", *METRICS}
    for name in METRICS:
        higher = {"higher": True, "lower": False}[registry[name].better]
        selection = Selection(name, model)
        assert selection.better(0.8, 0.3) == higher != selection.better(0.3, 0.8)
        assert not selection.better(0.3, 0.3)
        assert selection.better(0.3, None) and not selection.better(torch.nan, None)
        assert not selection.better(torch.nan, 0.3) and selection.better(0.3, torch.nan)


@pytest.mark.parametrize("key", METRICS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_nan_and_no_traceback(key, bad, tmp_path, data) -> None:
    model = built(tmp_path, 28).eval()

    def broken(module: Any, arguments: Any, output: Any) -> None:
        output["reconstruction"][0, 0, 3, 4] = bad

    model.decoder.register_forward_hook(broken)
    selection = Selection(key, model)
    for inputs in batches(data, 10):
        selection.add(inputs, {})
    assert torch.isnan(torch.tensor(selection.take()[key]))


@pytest.mark.parametrize(("key", "side", "least"), [("SSIM", 10, 11), ("GMSD", 2, 3)])
def test_images_too_small_for_the_metric(key: str, side: int, least: int, tmp_path: Path) -> None:
    run = run_of(tmp_path, side, key)
    said = (
        f"engine.select: {key} takes images of at least {least} pixels a side, these are "
        f"{side}x{side}; MSE or BCE take any"
    )
    with pytest.raises(StudyError) as error:
        check_selection(run)
    assert str(error.value) == f"{run.file}: {said}"
    with pytest.raises(StudyError) as error:
        Selection(key, build_model(run))
    assert str(error.value) == said
    check_selection(run_of(tmp_path, least, key))
    check_selection(run_of(tmp_path, side, "MSE"))
    model = built(tmp_path, least).eval()
    selection = Selection(key, model)
    selection.add(
        {"data": torch.rand(4, 1, least, least, generator=torch.Generator().manual_seed(1))}, {}
    )
    assert 0 < abs(selection.take()[key]) < 1


def test_a_metric_of_eval_and_the_training_loss_cannot_both_choose(tmp_path: Path) -> None:
    trainer = made.trainer(made.MODELS["VAE"], keep_best_on_train=True)
    file = made.run_file(tmp_path, "VAE", trainer=trainer, engine={"select": "MSE"})
    with pytest.raises(StudyError, match="engine.select: MSE is measured on the eval split, but "):
        load_run(file)
    load_run(made.run_file(tmp_path, "VAE", trainer=trainer, engine={"select": "loss"}))
