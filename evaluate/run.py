"""Evaluate one run directory: `per_image.npz`, `metrics.json` and its pictures."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.generate import Generation, generate, to_bytes
from evaluate.measure import Meter, Result, batches, measure
from evaluate.metric import Metric
from evaluate.mirror import mirror_evaluation
from evaluate.perceptual import Perceptual, check_required, lacking, perceptual
from evaluate.pictures import image_rows
from evaluate.registry import metrics_for
from study.datasets import Dataset, open_dataset
from study.errors import RunFailed, StudyError, one_line
from study.files import write_arrays, write_json
from study.lock import locked
from study.npz import member_names, open_array
from study.provenance import code_version, machine, package_versions
from study.rundir import METRICS_FORMAT, RunDirectory
from study.runs import Run
from study.schema import Evaluation, validate
from train.dataset import to_unit
from train.execution import device_of
from train.latents import latents_of
from train.latents.base import Latents
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
    float64, N each), `pictures.npz` and two PNGs, then `metrics.json`; other splits measured
    before stay in these files. Returns the split's entry. `weights`: where LPIPS looks for its
    trunk before torch's cache. StudyError where the run is not trained, the data are not those
    it was trained on (`verify`: their checksums are computed, not read from the manifest), or a
    metric in `required` cannot be measured. RunFailed where measuring fails.
    """
    run, model = load_trained(out)
    directory = RunDirectory(out)
    how = run.config.evaluation
    split = split or how.split
    dataset = _same_data(directory, open_dataset(data, run.config.dataset, verify))
    images = dataset.images(split)[: how.images]
    check_required(required, how, weights, dataset.shape)
    device = _device(run)
    lpips = perceptual(how, weights, dataset.shape, device)
    work = _Work(run, latents_of(model.to(device)), lpips, device, batch_size)
    work.what = f"{directory.path.as_posix()} {split}"
    try:
        result = measure(work.meter(), images, batch_size, work.what)
        generations = work.generations(result, dataset.images("train"))
        pictures = _pictures(work.latents, how.pictures, images, generations)
    except (RuntimeError, MemoryError) as error:
        raise RunFailed(f"{work.what}: {one_line(error)}{_of_memory(error)}") from error
    entry = _entry(run, dataset, split, result, generations, lpips.missing)
    _write(directory, split, entry, _arrays(result, generations), pictures)
    mirror_evaluation(directory, split, entry)
    return entry


def _of_memory(error: RuntimeError | MemoryError) -> str:
    """What to do about an error where it is of memory: the CPU's allocator raises a plain one."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if known or "DefaultCPUAllocator" in str(error):
        return "; python -m evaluate with a smaller --batch-size needs less"
    return ""


@dataclass
class _Work:
    """A trained model, and how it is measured."""

    run: Run
    latents: Latents
    lpips: Perceptual
    device: torch.device
    batch_size: int
    what: str = "evaluate"

    def meter(self) -> Meter:
        return Meter(self.latents, self.run.config.evaluation, self.lpips, self.run.seed)

    def generations(self, data: Result, training: np.ndarray) -> list[Generation]:
        """One for each sampler; `training`'s images are read where a sampler needs them."""
        how = self.run.config.evaluation
        what = f"{self.what}, latents of the training split"

        def again() -> Iterator[torch.Tensor]:
            return (x for _, x in batches(training, self.batch_size, self.device, what))

        with torch.inference_mode():
            samplers = self.latents.samplers(again, how.samplers)
        return [
            generate(
                self.meter(), sampler, data, how.samples, self.batch_size, how.pictures, self.what
            )
            for sampler in samplers
        ]


def up_to_date(directory: RunDirectory, split: str, weights: Path | None = None) -> bool:
    """Whether the split is measured as the run's config and this version would measure it.

    It is not where `metrics.json` is of an older format, was measured with other `evaluation`
    settings, or lacks an LPIPS whose weights have come since.
    """
    entry = directory.measured_splits().get(split)
    if entry is None:
        return False
    config = directory.read()["config"]
    if entry["evaluation"] | {"split": split} != config["evaluation"] | {"split": split}:
        return False
    how = validate(Evaluation, config["evaluation"], directory.record)
    return entry["missing"].keys() <= lacking(how, weights, config["model"]["input_dim"]).keys()


def _same_data(directory: RunDirectory, dataset: Dataset) -> Dataset:
    trained_on = directory.read()["data"]["sha256"]
    for split, found in dataset.hashes().items():
        if trained_on.get(split) != found:
            raise StudyError(
                f"{dataset.path(split)}: not the data that {directory.path} was trained on "
                f"(SHA-256 differs); give --data, or train again with --overwrite"
            )
    return dataset


def _entry(
    run: Run,
    dataset: Dataset,
    split: str,
    result: Result,
    generations: list[Generation],
    missing: dict[str, str],
) -> dict[str, Any]:
    how = run.config.evaluation
    known = metrics_for(how)
    return {
        "images": len(result.per_image["MSE"]),
        "subset": dataset.subset,
        "data_sha256": dataset.hashes()[split],
        "reconstruction": RECONSTRUCTION,
        "seed": run.seed,
        "evaluation": how.model_dump(),
        "code": code_version(),
        "versions": package_versions(),
        "machine": machine(no_gpu=run.trainer.no_cuda),
        "metrics": _describe(known, result),
        "mean_image_mse": result.mean_image_mse,
        # Asked for and not measured, and why; what a model does not define is in neither.
        "missing": missing,
        "generations": {
            made.sampler.key: {
                "title": made.sampler.title,
                "definition": made.sampler.definition,
                "samples": made.count,
                "metrics": _describe(known, made.result),
                "missing": missing | made.missing,
            }
            for made in generations
        },
    }


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
        about = dataclasses.asdict(metric)
        del about["key"]
        described[key] = {"title": about.pop("title"), "mean": mean, "sd": sd} | about
    return described


def _arrays(result: Result, generations: list[Generation]) -> dict[str, np.ndarray]:
    arrays = dict(result.per_image)
    for made in generations:
        for key, values in made.result.per_image.items():
            arrays[f"generations.{made.sampler.key}.{key}"] = values
    return arrays


def _write(
    directory: RunDirectory,
    split: str,
    entry: dict[str, Any],
    arrays: dict[str, np.ndarray],
    pictures: dict[str, np.ndarray],
) -> None:
    with locked(directory.path):
        merge_arrays(directory.per_image, split, arrays)
        merge_arrays(directory.pictures, split, pictures)
        _draw_pictures(directory, split, pictures, entry["generations"])
        splits = directory.measured_splits() | {split: entry}
        write_json(directory.metrics, {"format": METRICS_FORMAT, "splits": splits})
        directory.failure.unlink(missing_ok=True)


def merge_arrays(path: Path, split: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as `<split>.<key>` into an `.npz`; those of other splits stay in it."""
    merged = {f"{split}.{key}": value for key, value in arrays.items()}
    if path.is_file():
        for name in member_names(path):
            if not name.startswith(f"{split}."):
                merged[name] = np.array(open_array(path, name))
    write_arrays(path, merged)


def _device(run: Run) -> torch.device:
    device = device_of(run.trainer)
    if device.type == "cuda":
        # TF32 has ten bits of mantissa: enough to train with, too few to measure with.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return device


@torch.inference_mode()
def _pictures(
    latents: Latents, count: int, images: np.ndarray, generations: list[Generation]
) -> dict[str, np.ndarray]:
    """Originals spread over the measured images (the same ones for every run), their
    reconstructions, each sampler's first samples and theirs: uint8 N x C x H x W, and the
    originals' `index`."""
    count = min(count, len(images))
    index = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    originals = images[index]
    encoded = latents.encode(to_unit(originals).to(latents.device))
    pictures = {
        "index": index,
        "originals": originals,
        "reconstructions": to_bytes(latents.decode(encoded.z)),
    }
    for made in generations:
        pictures[f"generations.{made.sampler.key}"] = made.shown
        pictures[f"self_reconstructions.{made.sampler.key}"] = made.reconstructed
    return pictures


def _draw_pictures(
    directory: RunDirectory,
    split: str,
    pictures: dict[str, np.ndarray],
    generations: dict[str, Any],
) -> None:
    pairs = [("original", "originals"), ("reconstruction", "reconstructions")]
    image_rows(
        [(label, pictures[key]) for label, key in pairs],
        f"reconstructions, {split} split",
        directory.path / "reconstructions.png",
    )
    rows = []
    for key in generations:
        name = "generated" if len(generations) == 1 else f"{key} codes"
        rows.append((name, pictures[f"generations.{key}"]))
        rows.append(("reconstruction of it", pictures[f"self_reconstructions.{key}"]))
    titles = "; ".join(entry["title"] for entry in generations.values())
    image_rows(rows, f"generations, {titles}", directory.path / "generations.png")
