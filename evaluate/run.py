"""Evaluate a run directory, or a study's reference rows: numbers and pictures on disk."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from evaluate.available import (
    check_measured,
    check_required,
    measuring_device,
    missing_metrics,
    networks_for,
)
from evaluate.features import same_classifier
from evaluate.metric import Metric
from evaluate.mirror import mirror_evaluation
from evaluate.partial import Partial
from evaluate.pictures import draw_pictures
from evaluate.references import Reference
from evaluate.registry import KEYS, metrics_for
from evaluate.result import Result
from evaluate.work import Measurement, Networks, Work
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.files import sha256, write_json
from study.lock import locked
from study.npz import merge_arrays
from study.provenance import code_version, machine, package_versions
from study.rundir import METRICS_FORMAT, ReferenceDirectory, RunDirectory
from study.schema import Evaluation, validate
from train.latents import latents_of
from train.run import load_trained

# Of which z, in words, for what is published.
RECONSTRUCTION = (
    "of the posterior's mean, where a model has a posterior; for ELBO and columns as published, "
    "of z drawn from it"
)


def evaluate_run(
    out: Path,
    data: Path,
    split: str | None = None,
    batch_size: int = 64,
    verify: bool = False,
    weights: Path | None = None,
    required: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure the trained run in `out` on a split of its data set (None: its config's).

    Writes `per_image.npz` (`<split>.<metric>` and `<split>.generations.<sampler>.<metric>`,
    float64, N each), `pictures.npz`, `latents.npz` (where `evaluation.latents` asks for it and the
    model has flat ones) and PNGs, then `metrics.json`; other splits measured
    before stay in these files. Returns the split's entry. One that was stopped goes on from the
    block of images that it was at. `weights`: where LPIPS and Inception look for their
    weights before torch's cache. StudyError where the run is not trained, the data are not those
    it was trained on (`verify`: their checksums are computed, not read from the manifest), or a
    metric in `required` cannot be measured. RunFailed where measuring fails.
    """
    run, model = load_trained(out)
    directory = RunDirectory(out)
    how = run.config.evaluation
    split = split or how.split
    dataset = _same_data(directory, open_dataset(data, run.config.dataset, verify))
    dataset.images(split)
    check_required(list(required), how, weights, dataset)
    with locked(directory.path):
        device = measuring_device(run.trainer)
        networks = networks_for(how, dataset, weights, device)
        latents = latents_of(model.to(device))
        what = f"{directory.path.as_posix()} {split}"
        work = Work(latents, how, dataset, split, networks, run.seed, what, batch_size)
        work.latent_noise = run.config.engine.latent_noise
        weighed = sha256(directory.final_model / "model.pt")
        work.partial = _partial(directory, work, weighed)
        done = work.measure()
        entry = _entry(work, done) | {
            "machine": machine(no_gpu=run.trainer.no_cuda),
            "reconstruction": RECONSTRUCTION,
        }
        _write(directory, split, entry, done)
        work.partial.discard()
        directory.failure.unlink(missing_ok=True)
        mirror_evaluation(directory)
    check_measured(list(required), entry)
    return entry


def evaluate_reference(
    reference: Reference,
    directory: ReferenceDirectory,
    how: Evaluation,
    dataset: Dataset,
    split: str,
    networks: Networks,
    batch_size: int = 64,
) -> None:
    """Measure a reference row as a run is measured, into `directory`."""
    with locked(directory.path):
        what = f"{directory.path.as_posix()} {split}"
        work = Work(reference.latents, how, dataset, split, networks, 0, what, batch_size)
        work.partial = _partial(directory, work, reference.name)
        done = work.measure()
        write_json(
            directory.record,
            {
                "name": reference.name,
                "label": reference.label,
                "definition": reference.definition,
                "order": reference.order,
            },
        )
        _write(directory, split, _entry(work, done), done)
        work.partial.discard()


def _partial(directory: RunDirectory | ReferenceDirectory, work: Work, model: str) -> Partial:
    """What is measured already of this very model with these very settings."""
    of = {
        "format": METRICS_FORMAT,
        "model": model,
        "data": work.dataset.hashes(),
        "split": work.split,
        "evaluation": work.how.model_dump(),
        "missing": work.networks.missing,
        "features": {word: f.settings for word, f in work.networks.features.items()},
        "batch_size": work.batch_size,
        "code": code_version(),
        "versions": package_versions(),
        "device": torch.cuda.get_device_name() if work.latents.device.type == "cuda" else "CPU",
    }
    folder = directory.path / f".evaluation-{work.split}.partial"
    # Code that is no commit's is known by nothing: what it has measured is not gone on from.
    code = of["code"]["commit"] if not of["code"]["dirty"] else None
    if code is None:
        shutil.rmtree(folder, ignore_errors=True)
        return Partial()
    return Partial(folder, of)


def up_to_date(
    directory: RunDirectory, split: str, dataset: Dataset, weights: Path | None = None
) -> bool:
    """Whether the split is measured as the run's config and this version would measure it.

    It is not where `metrics.json` is of an older format, was measured with other `evaluation`
    settings, or lacks a metric whose weights have come since.
    """
    entry = directory.measured_splits().get(split)
    if entry is None:
        return False
    config = directory.read()["config"]
    how = validate(Evaluation, config["evaluation"], directory.record)
    return measured_so(entry, how, split, dataset, weights)


def measured_so(
    entry: dict[str, Any], how: Evaluation, split: str, dataset: Dataset, weights: Path | None
) -> bool:
    """Whether an entry of `metrics.json` is of these settings and data, and lacks nothing that
    could be measured now."""
    if not _same_settings(entry["evaluation"], how, split):
        return False
    # Samples are held against the training split, too, and references are made of it.
    if entry["data"] != dataset.hashes():
        return False
    # A classifier that was trained anew is another one.
    recorded = entry["features"].get("classifier")
    if recorded is not None and not same_classifier(dataset, recorded):
        return False
    return set(entry["unavailable"]) <= missing_metrics(how, dataset, weights).keys()


def _same_settings(recorded: dict[str, Any], how: Evaluation, split: str) -> bool:
    """What an older version had no word for was measured at its default."""
    try:
        known = Evaluation.model_validate(recorded).model_dump()
    except ValidationError:
        return False
    of = {"split": split}
    return known | of == how.model_dump() | of


def _same_data(directory: RunDirectory, dataset: Dataset) -> Dataset:
    trained_on = directory.read()["data"]["sha256"]
    for split, found in dataset.hashes().items():
        if trained_on.get(split) != found:
            raise StudyError(
                f"{dataset.path(split)}: not the data that {directory.path} was trained on "
                f"(SHA-256 differs); give --data, or train again with --overwrite"
            )
    return dataset


def _entry(work: Work, done: Measurement) -> dict[str, Any]:
    how, networks = work.how, work.networks
    settings = {word: features.settings for word, features in networks.features.items()}
    known = metrics_for(how, settings)
    unavailable = networks.missing
    of_split = {key: why for key, why in unavailable.items() if key in KEYS}
    latents = {"latents": done.latents.about} if done.latents else {}
    return {
        "images": len(work.images),
        "subset": work.dataset.subset,
        "data_sha256": work.dataset.hashes()[work.split],
        "data": work.dataset.hashes(),
        "features": settings,
        "seed": work.seed,
        "evaluation": how.model_dump(),
        "code": code_version(),
        "versions": package_versions(),
        # What the machine has no weights or the data no labels for.
        "unavailable": sorted(unavailable),
        "metrics": _describe(known, done.result),
        "mean_image_mse": done.result.mean_image_mse,
        # Asked for and not measured, and why; what a model does not define is in neither.
        "missing": of_split | done.result.missing,
        "generations": {
            made.sampler.key: {
                "title": made.sampler.title,
                "definition": made.sampler.definition,
                "samples": made.count,
                "metrics": _describe(known, made.result),
                "missing": unavailable | made.missing,
            }
            for made in done.generations
        },
    } | latents


def _describe(known: dict[str, Metric], result: Result) -> dict[str, dict[str, Any]]:
    """Each metric that was measured: its mean, and all that a table says of it."""
    described = {}
    for key, metric in known.items():
        values = result.per_image.get(key)
        if values is not None:
            mean = float(values.mean())
            # Over images; what lies between seeds is the table's business.
            sd = float(values.std(ddof=1)) if len(values) > 1 else None
        elif key in result.per_split:
            mean, sd = result.per_split[key], None
        else:
            continue
        described[key] = metric.entry(mean, sd)
    return described


def _arrays(done: Measurement) -> dict[str, np.ndarray]:
    arrays = dict(done.result.per_image)
    for made in done.generations:
        for key, values in made.result.per_image.items():
            arrays[f"generations.{made.sampler.key}.{key}"] = values
    return arrays


def _write(
    directory: RunDirectory | ReferenceDirectory,
    split: str,
    entry: dict[str, Any],
    done: Measurement,
) -> None:
    merge_arrays(directory.per_image, split, _arrays(done))
    merge_arrays(directory.pictures, split, done.pictures)
    if done.latents or directory.latents.is_file():
        merge_arrays(directory.latents, split, done.latents.arrays if done.latents else {})
    draw_pictures(directory.path, split, done.pictures, entry["generations"])
    splits = directory.measured_splits() | {split: entry}
    write_json(directory.metrics, {"format": METRICS_FORMAT, "splits": splits})
