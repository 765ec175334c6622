"""Evaluate one run directory: `per_image.npz`, `metrics.json` and its pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.measure import Noise, decode, encode, measure
from evaluate.mirror import mirror_evaluation
from evaluate.pictures import image_rows
from evaluate.registry import Metric, metrics_for
from study.datasets import Dataset, open_dataset
from study.errors import RunFailed, StudyError, one_line
from study.files import write_arrays, write_json
from study.jsonfile import read_json_object
from study.lock import locked
from study.npz import member_names, open_array
from study.provenance import code_version, machine, package_versions
from study.rundir import RunDirectory
from study.runs import Run
from train.dataset import to_unit
from train.run import load_trained

FORMAT = 1
SAMPLER = "N(0, I)"


def evaluate_run(
    out: Path,
    data: Path,
    split: str | None = None,
    batch_size: int = 64,
    verify: bool = False,
) -> dict[str, Any]:
    """Measure the trained run in `out` on a split of its data set (None: its config's).

    Writes `per_image.npz` (`<split>.<metric>`, float64, N each), `pictures.npz` and two PNGs,
    then `metrics.json`; other splits measured before stay in these files. Returns the split's
    entry. StudyError where the run is not trained, or the data are not those it was trained on
    (`verify`: their checksums are computed, not read from the manifest). RunFailed where
    measuring fails.
    """
    run, model = load_trained(out)
    directory = RunDirectory(out)
    how = run.config.evaluation
    split = split or how.split
    dataset = _same_data(directory, open_dataset(data, run.config.dataset, verify))
    images = dataset.images(split)
    device = _device(run)
    what = f"{directory.path.as_posix()} {split}"
    try:
        values = measure(model, images, how, run.seed, batch_size, device, what)
        pictures = _pictures(how.pictures, model, images, device)
    except (RuntimeError, MemoryError) as error:
        raise RunFailed(f"{what}: {one_line(error)}; a smaller --batch-size needs less") from error
    entry = _entry(run, dataset, split, values)
    with locked(directory.path):
        merge_arrays(directory.per_image, split, values)
        merge_arrays(directory.pictures, split, pictures)
        _draw_pictures(directory, split, pictures)
        before = read_json_object(directory.metrics) if directory.metrics.is_file() else {}
        splits = before.get("splits", {}) | {split: entry}
        write_json(directory.metrics, {"format": FORMAT, "splits": splits})
        directory.failure.unlink(missing_ok=True)
    mirror_evaluation(directory, split, entry)
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
        "evaluation": how.model_dump(),
        "code": code_version(),
        "versions": package_versions(),
        "machine": machine(no_gpu=run.trainer.no_cuda),
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


def merge_arrays(path: Path, split: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as `<split>.<key>` into an `.npz`; those of other splits stay in it."""
    merged = {f"{split}.{key}": value for key, value in arrays.items()}
    if path.is_file():
        for name in member_names(path):
            if not name.startswith(f"{split}."):
                merged[name] = np.array(open_array(path, name))
    write_arrays(path, merged)


def _device(run: Run) -> torch.device:
    if run.trainer.no_cuda or not torch.cuda.is_available():
        return torch.device("cpu")
    # TF32 has ten bits of mantissa: enough to train with, too few to measure with.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda")


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


@torch.inference_mode()
def _pictures(
    count: int, model: Any, images: np.ndarray, device: torch.device
) -> dict[str, np.ndarray]:
    """Originals spread over the split (the same ones for every run), their reconstructions, and
    as many generations: uint8 N x C x H x W, and the originals' `index`."""
    count = min(count, len(images))
    index = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    originals = images[index]
    q = encode(model, to_unit(originals).to(device))
    # The same z for every run with this latent size, whatever its seed: rows can be compared.
    z = Noise(0).draw(count, q.mean.shape[1]).to(device)
    return {
        "index": index,
        "originals": originals,
        "reconstructions": to_bytes(decode(model, q.mean)),
        "generations": to_bytes(decode(model, z)),
    }


def _draw_pictures(directory: RunDirectory, split: str, pictures: dict[str, np.ndarray]) -> None:
    pairs = [("original", "originals"), ("reconstruction", "reconstructions")]
    image_rows(
        [(label, pictures[key]) for label, key in pairs],
        f"reconstructions, {split} split",
        directory.path / "reconstructions.png",
    )
    image_rows(
        [("generated", pictures["generations"])],
        f"decoded z ~ {SAMPLER}",
        directory.path / "generations.png",
    )
