"""Evaluate one run directory: `per_image.npz`, `metrics.json` and its pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.measure import Noise, decode, encode, measure
from evaluate.pictures import image_rows
from evaluate.registry import Metric, metrics_for
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.files import write_arrays, write_json
from study.jsonfile import read_json_object
from study.npz import member_names, open_array
from study.provenance import package_versions
from study.rundir import RunDirectory
from study.runs import Run
from train.dataset import to_unit
from train.run import load_trained

FORMAT = 1
BATCH_SIZE = 64
SAMPLER = "N(0, I)"


def evaluate_run(
    out: Path,
    data: Path,
    split: str | None = None,
    batch_size: int = BATCH_SIZE,
    verify: bool = False,
) -> dict[str, Any]:
    """Measure the trained run in `out` on a split (default: its config's) of its data set.

    Writes `per_image.npz` (`<split>.<metric>`, float64, N each), `pictures.npz` and two PNGs,
    then `metrics.json`; other splits measured before stay in it. Returns the split's entry.
    StudyError where the run is not trained, or the data are not those it was trained on
    (`verify`: their checksums are computed, not read from the manifest).
    """
    run, model = load_trained(out)
    directory = RunDirectory(out)
    how = run.config.evaluation
    split = split or how.split
    dataset = _same_data(directory, open_dataset(data, run.config.dataset, verify))
    images = dataset.images(split)
    gpu = torch.cuda.is_available() and not run.trainer.no_cuda
    device = torch.device("cuda" if gpu else "cpu")
    what = f"{directory.path.as_posix()} {split}"
    values = measure(model, images, how, run.seed, batch_size, device, what)
    _write_values(directory, split, values)
    _write_pictures(directory, run, model, images, split, device)
    entry = _entry(run, dataset, split, values)
    before = read_json_object(directory.metrics) if directory.metrics.is_file() else {}
    splits = before.get("splits", {}) | {split: entry}
    write_json(directory.metrics, {"format": FORMAT, "splits": splits})
    directory.failure.unlink(missing_ok=True)
    return entry


def _same_data(directory: RunDirectory, dataset: Dataset) -> Dataset:
    trained_on = directory.read()["data"]["sha256"]
    for split, found in dataset.hashes().items():
        if trained_on.get(split) != found:
            raise StudyError(
                f"{dataset.path(split)}: not the data that {directory.path} was trained on "
                f"(SHA-256 differs); give --data, or train again with --overwrite"
            )
    return dataset


def _entry(run: Run, dataset: Dataset, split: str, values: dict) -> dict[str, Any]:
    how = run.config.evaluation
    known = metrics_for(how.likelihood, how.elbo_samples)
    return {
        "images": len(values["MSE"]),
        "subset": dataset.subset,
        "data_sha256": dataset.hashes()[split],
        "reconstruction": "z = posterior mean; ELBO: z sampled",
        "seed": run.seed,
        "versions": package_versions(),
        "metrics": {key: _describe(known[key], values[key]) for key in known if key in values},
    }


def _describe(metric: Metric, values: np.ndarray) -> dict[str, Any]:
    return {
        "title": metric.title,
        "mean": float(values.mean()),
        # Over images; what lies between seeds is the table's business.
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "better": metric.better,
        "unit": metric.unit,
        "definition": metric.definition,
        "settings": metric.settings,
        "package": metric.package,
    }


def _write_values(directory: RunDirectory, split: str, values: dict[str, np.ndarray]) -> None:
    arrays = {f"{split}.{key}": value for key, value in values.items()}
    if directory.per_image.is_file():
        for name in member_names(directory.per_image):
            if not name.startswith(f"{split}."):
                arrays[name] = np.array(open_array(directory.per_image, name))
    write_arrays(directory.per_image, arrays)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def _write_pictures(
    directory: RunDirectory,
    run: Run,
    model: Any,
    images: np.ndarray,
    split: str,
    device: torch.device,
) -> None:
    count = min(run.config.evaluation.pictures, len(images))
    # Spread over the split, and the same ones for every run on it.
    index = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    originals = images[index]
    q = encode(model, to_unit(originals).to(device))
    # The same z for every run with this latent size, whatever its seed: rows can be compared.
    z = Noise(0).draw(count, q.mean.shape[1]).to(device)
    reconstructions = to_bytes(decode(model, q.mean))
    generations = to_bytes(decode(model, z))
    write_arrays(
        directory.pictures,
        {
            "index": index,
            "originals": originals,
            "reconstructions": reconstructions,
            "generations": generations,
        },
    )
    image_rows(
        [("original", originals), ("reconstruction", reconstructions)],
        f"reconstructions, {split} split",
        directory.path / "reconstructions.png",
    )
    image_rows(
        [("generated", generations)],
        f"decoded z ~ {SAMPLER}",
        directory.path / "generations.png",
    )
