"""Train one run into its directory, and open a trained one again."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pythae.trainers.trainer_utils import set_seed

from study.datasets import Dataset
from study.errors import RunFailed, StudyError, one_line
from study.identity import digest
from study.lock import locked
from study.progress import say
from study.provenance import code_version, machine, now, package_versions
from study.rundir import RunDirectory
from study.runs import Run, parse_run
from study.tracking import Tracker, run_job
from train.allocator import keep_freed_memory
from train.checkpoint import Checkpoints
from train.dataset import ImageDataset
from train.execution import device_of, settings
from train.models import build_model, load_weights
from train.pipeline import BarCallback, RunPipeline, quiet_pythae
from train.prune import prune_run
from train.selection import check_selection
from train.staging import stage_folder
from train.trainer import Session


def train_run(run: Run, dataset: Dataset, out: Path, overwrite: bool = False) -> bool:
    """Train `run` on `dataset` into the run directory `out`, from its checkpoint where it has one.

    Returns False where the finished run is there already, True after training. StudyError where
    `out` holds another run, another process is at work in it, or the config does not fit the
    data; RunFailed where training fails, noted in `failure.json`. Stopped or KeyboardInterrupt,
    a checkpoint written, where a signal ends it (`study.stopping.stoppable` listens).
    """
    directory = RunDirectory(out)
    run, model = prepared(run, dataset, choosing=not directory.trained)
    identity = run_identity(run, dataset)
    with locked(directory.path):
        if not directory.begin(identity, _about(run, model), overwrite):
            prune_run(directory, run.config.engine.keep)
            return False
        checkpoints = Checkpoints(directory, digest(identity))
        state = checkpoints.read() if directory.stopped else None
        if state is not None:
            epoch, step = state["trainer"]["epoch"], state["trainer"]["step"]
            say(f"{directory.path}: goes on from epoch {epoch}, step {step}")
        elif directory.stopped:
            say(f"{directory.path}: no checkpoint can be used; it starts from the beginning")
        job = run_job(directory, "train", state and state["wandb_id"])
        with Tracker(job) as tracker:
            # The mirror starts anew; what was logged after the checkpoint comes again.
            for line in state["lines"] if state else []:
                tracker.log_epoch(line)
            kept = {"wandb_id": job.id}
            session = Session(run, directory, checkpoints, state, tracker.log_epoch, kept)
            del state  # the session drops it when it is taken over
            _train(session, model, dataset)
    return True


def prepared(run: Run, dataset: Dataset, choosing: bool = True) -> tuple[Run, Any]:
    """The run, its shape known, and its model; StudyError where the two cannot be trained.

    `choosing`: whether what chooses the best model is looked at, too.
    """
    run = run.with_shape(dataset.shape)
    for split in splits_read(run, dataset):
        dataset.images(split)  # refuses what is not the manifest's
    check_last_batches(run, dataset)
    if run.config.engine.stage_to is not None:
        stage_folder(run.config.engine.stage_to, f"{run.file}: ")
    if choosing:
        check_selection(run)
    # Seed before the model is made: upstream seeds when training starts, so its initial weights
    # depend on whatever ran before (DEVIATIONS.md).
    set_seed(run.seed)
    return run, _built(run)


@contextmanager
def run_pipeline(session: Session, model: Any, dataset: Dataset) -> Iterator[RunPipeline]:
    """The run's pipeline, its trainer made, with the switches of torch that `engine` asks for."""
    run = session.run
    # Pythae writes into it: RAE_L2's weight decay, say. The run stays what was recorded.
    trainer = copy.deepcopy(run.trainer)
    trainer.output_dir = str(session.directory.path)
    quiet_pythae()
    device, stage_to = device_of(trainer), run.config.engine.stage_to
    if device.type == "cpu":
        keep_freed_memory()
    with settings(run.config.engine, device):
        splits = splits_read(run, dataset)
        data = {split: ImageDataset(dataset.path(split), stage_to) for split in splits}
        pipeline = RunPipeline(model=model, training_config=trainer)
        bar = BarCallback(session.directory.path.as_posix())
        try:
            pipeline.prepare(data["train"], data.get("eval"), [bar], session)
            yield pipeline
        finally:
            bar.close()


def _train(session: Session, model: Any, dataset: Dataset) -> None:
    directory = session.directory
    try:
        with run_pipeline(session, model, dataset) as pipeline:
            pipeline.trainer.train()
    except Exception as error:
        directory.note_failure("train", error)
        if isinstance(error, StudyError):
            raise
        raise RunFailed(f"{directory.path}: {type(error).__name__}: {one_line(error)}") from error


def splits_read(run: Run, dataset: Dataset) -> list[str]:
    """The splits that training reads; StudyError where none is there to choose the best model."""
    if "eval" in dataset.splits():
        return ["train", "eval"]
    if not run.trainer.keep_best_on_train:
        raise StudyError(
            f"{run.file}: trainer.keep_best_on_train: data set '{dataset.name}' has no eval split "
            f"to choose the best model by; true lets the training loss choose"
        )
    return ["train"]


def run_identity(run: Run, dataset: Dataset) -> dict[str, Any]:
    """What makes a run this one and no other: its whole config, and its data."""
    data = {
        "name": dataset.name,
        "images": {split: dataset.count(split) for split in dataset.splits()},
        "subset": dataset.subset,
        "sha256": dataset.hashes(),
    }
    return {"config": run.with_shape(dataset.shape).resolved(), "data": data}


# Of their batches, Pythae divides by N - 1 (unbiased MMD², stratified weights) or takes halves.
_AT_LEAST_TWO = ("WAE_MMD_Config", "INFOVAE_MMD_Config", "BetaTCVAEConfig", "FactorVAEConfig")


def smallest_batches(run: Run) -> dict[str, int]:
    """How many images a batch of each split must have at least for this run's model."""
    normed = run.config.networks.name not in ("mlp", "convnet56")
    biased = run.config.engine.mmd_sigmas is not None or not getattr(run.model, "use_mss", True)
    least = 2 if run.model.name in _AT_LEAST_TWO and not biased else 1
    # BatchNorm takes no variance of one value; it is used in training alone.
    halved = run.model.name == "FactorVAEConfig"
    return {"train": max(least, (4 if halved else 2) if normed else 1), "eval": least}


def check_last_batches(run: Run, dataset: Dataset) -> None:
    """StudyError where a last batch of few images cannot be trained or judged on."""
    for split, least in smallest_batches(run).items():
        if split not in dataset.splits():
            continue
        key = f"per_device_{split}_batch_size"
        size, count = getattr(run.trainer, key), dataset.count(split)
        last = count % size or size
        if last < least:
            images = "one image" if last == 1 else f"{last} images"
            raise StudyError(
                f"{run.file}: trainer.{key}: {size} leaves {images} for the last batch of "
                f"{count:,}, which this model cannot take; choose another size"
            )
    pseudo_inputs = getattr(run.model, "number_components", None)
    if pseudo_inputs == 1 and smallest_batches(run)["train"] > 1:
        raise StudyError(
            f"{run.file}: model.number_components: at least 2 are wanted with "
            f"{run.config.networks.name}, whose BatchNorm takes no variance of one pseudo-input"
        )


def _built(run: Run) -> Any:
    try:
        return build_model(run)
    except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
        # A TypeError is torch's word for a size beyond 64 bits.
        raise StudyError(
            f"{run.file}: its networks cannot be built ({one_line(error)}); smaller ones can"
        ) from None


def _about(run: Run, model: Any) -> dict[str, Any]:
    return {
        "parameters": {
            name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
        },
        "code": code_version(),
        "versions": package_versions(),
        "machine": machine(no_gpu=run.trainer.no_cuda),
        "started": now(),
    }


def load_trained(out: Path, last: bool = False) -> tuple[Run, Any]:
    """The run in `out` and its trained model, in eval mode on the CPU.

    The best model, or with `last` the one of the last epoch (`engine.keep`). It is built anew
    from the config in `run.json` and filled from its weights with `weights_only=True`: the
    pickles that Pythae lays beside them are never opened.
    """
    directory = RunDirectory(out)
    run = parse_run(directory.read()["config"], directory.record)
    if not directory.trained:
        raise StudyError(f"{out}: training has not finished there; 'python -m train' does it")
    model = build_model(run)
    weights = directory.last_model if last else directory.final_model / "model.pt"
    try:
        load_weights(model, torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:
        raise StudyError(f"{weights}: cannot be loaded: {one_line(error)}") from None
    return run, model.eval()
