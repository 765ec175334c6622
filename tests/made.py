"""Small data sets and run files made for tests, in the real formats."""

import json
from pathlib import Path

import numpy as np

from data_prep.npz_stream import write_npz
from study.datasets import FORMAT, split_file
from study.files import sha256
from study.pythae_json import TRAINER_OF, config_class, optimized_parts


class Runs:
    """Unpickling this writes a file: the sign that code ran."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def images(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Smooth uint8 images, N x C x H x W: blobs of random place, size and colour."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    made = np.zeros((count, *shape), np.uint8)
    for image in made:
        cy, cx = rng.uniform(0.2, 0.8, 2) * (height, width)
        radius = rng.uniform(0.1, 0.4) * height
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))
        image[:] = (255 * rng.uniform(0.3, 1, (channels, 1, 1)) * blob).astype(np.uint8)
    return made


def dataset(
    data: Path,
    name: str = "tiny",
    shape: tuple[int, int, int] = (1, 28, 28),
    counts: tuple[int, ...] = (70, 25),
    subset: str | None = None,
    beside: dict[str, np.ndarray] | None = None,
) -> Path:
    """A prepared data set with a train split and, of two counts, an eval split; its folder.
    `beside`: arrays beside the training images, which are `images(counts[0], shape)`."""
    folder = data / name
    folder.mkdir(parents=True)
    splits = {}
    for seed, (split, count) in enumerate(zip(("train", "eval"), counts, strict=False)):
        path = folder / split_file(split)
        content = images(count, shape, seed)
        write_npz(path, content.shape, [content], beside or {} if split == "train" else {})
        size = path.stat().st_size
        splits[split] = {"file": path.name, "count": count, "bytes": size, "sha256": sha256(path)}
    manifest = {
        "format": FORMAT,
        "name": name,
        "dataset": "made",
        "image_shape": list(shape),
        "splits": splits,
        "subset": subset,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


MLP = {"name": "mlp", "encoder": [24], "decoder": [24]}
MODELS = {
    "AE": {"name": "AEConfig", "latent_dim": 3},
    "VAE": {"name": "VAEConfig", "latent_dim": 3, "reconstruction_loss": "bce"},
    "BetaVAE": {"name": "BetaVAEConfig", "latent_dim": 3, "beta": 4.0},
    "WAE_MMD": {"name": "WAE_MMD_Config", "latent_dim": 3},
    "VQVAE": {"name": "VQVAEConfig", "latent_dim": 3, "num_embeddings": 8},
    "VAEGAN": {
        "name": "VAEGANConfig",
        "latent_dim": 3,
        "adversarial_loss_scale": 0.8,
        "reconstruction_layer": 1,
    },
}


def trainer(model: dict, **changes: object) -> dict:
    """The `trainer` section that a model needs: 2 epochs on the CPU, rate 1e-3."""
    name = TRAINER_OF.get(model["name"], "BaseTrainerConfig")
    parts = optimized_parts(config_class("trainer", name))
    rates = [f"{part}_learning_rate" for part in parts] or ["learning_rate"]
    section = {
        "name": name,
        "num_epochs": 2,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 16,
        "seed": 3,
        "no_cuda": True,
    }
    return section | dict.fromkeys(rates, 1e-3) | changes


# Without LPIPS: a machine that has its weights would spend minutes on them.
EVALUATION = {"split": "eval", "pictures": 4, "samples": 20, "lpips": []}


def run_config(kind: str = "VAE", **changes: object) -> dict:
    """A run on `tiny` that trains in well under a second; `changes` replace whole sections."""
    config = {
        "dataset": "tiny",
        "networks": MLP,
        "model": MODELS[kind],
        "trainer": trainer(MODELS[kind]),
        "evaluation": EVALUATION,
    }
    return config | changes


def study_config(runs: dict[str, str], /, **changes: object) -> dict:
    """A study on `shapes` of runs by name and run file; `changes` replace whole sections."""
    config = {
        "name": "made",
        "title": "Made",
        "source": "a test",
        "cost": "Nothing.",
        "data": {"dataset": "shapes"},
        "split": "eval",
        "runs": [{"name": n, "config": file, "label": n.upper()} for n, file in runs.items()],
        "seeds": [0, 1],
        "tables": [{"name": "table", "title": "Table", "metrics": ["MSE", "KL"]}],
    }
    return config | changes


def run_file(folder: Path, kind: str = "VAE", name: str = "run", **changes: object) -> Path:
    """`run_config` as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(run_config(kind, **changes)))
    return path
