"""Train one run into its directory, and open a trained one again."""

import time
from pathlib import Path
from typing import Any

import torch
from pythae.trainers.trainer_utils import set_seed

from study.datasets import Dataset
from study.errors import RunFailed, StudyError, one_line
from study.files import write_json
from study.provenance import code_version, machine, now, package_versions
from study.rundir import RunDirectory
from study.runs import Run, parse_run
from train.dataset import ImageDataset
from train.history import HistoryCallback
from train.models import build_model
from train.trainer import BarCallback, RunPipeline, final_model_aside, quiet_pythae


def train_run(run: Run, dataset: Dataset, out: Path, overwrite: bool = False) -> bool:
    """Train `run` on `dataset` into the run directory `out`.

    Returns False where the finished run is there already, True after training. StudyError where
    `out` holds another run or the config does not fit the data; RunFailed where training fails,
    noted in `failure.json`.
    """
    run = run.with_shape(dataset.shape)
    directory = RunDirectory(out)
    identity = {"config": run.resolved(), "data": _data_identity(dataset)}
    train_data = ImageDataset(dataset.images("train"))
    eval_data = ImageDataset(dataset.images("eval"))
    # Seed before the model is made: upstream seeds when training starts, so its initial weights
    # depend on whatever ran before (DEVIATIONS.md).
    set_seed(run.seed)
    model = build_model(run)
    if not directory.begin(identity, _about(model), overwrite):
        return False
    run.trainer.output_dir = str(directory.path)
    callbacks = [HistoryCallback(directory.history), BarCallback(directory.path.as_posix())]
    quiet_pythae()
    started = time.perf_counter()
    try:
        RunPipeline(model=model, training_config=run.trainer)(train_data, eval_data, callbacks)
    except Exception as error:
        directory.note_failure("train", error)
        if isinstance(error, StudyError):
            raise
        raise RunFailed(f"{directory.path}: {type(error).__name__}: {one_line(error)}") from error
    seconds = round(time.perf_counter() - started, 1)
    write_json(directory.finished, {"finished": now(), "seconds": seconds})
    # Last: a run is trained when `final_model` is there.
    final_model_aside(directory.path).rename(directory.final_model)
    return True


def _data_identity(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "images": {split: dataset.count(split) for split in dataset.splits()},
        "subset": dataset.subset,
        "sha256": dataset.hashes(),
    }


def _about(model: Any) -> dict[str, Any]:
    return {
        "parameters": {
            part: sum(p.numel() for p in getattr(model, part).parameters())
            for part in ("encoder", "decoder")
        },
        "code": code_version(),
        "versions": package_versions(),
        "machine": machine(),
        "started": now(),
    }


def load_trained(out: Path) -> tuple[Run, Any]:
    """The run in `out` and its trained model, in eval mode on the CPU.

    The model is built anew from the config in `run.json` and filled from `final_model/model.pt`
    with `weights_only=True`: the pickles that Pythae lays beside it are never opened.
    """
    directory = RunDirectory(out)
    run = parse_run(directory.read()["config"], directory.record)
    if not directory.trained:
        raise StudyError(f"{out}: training has not finished there; 'python -m train' does it")
    model = build_model(run)
    weights = directory.final_model / "model.pt"
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state_dict"]
        model.load_state_dict(state)
    except Exception as error:
        raise StudyError(f"{weights}: cannot be loaded: {one_line(error)}") from None
    return run, model.eval()
