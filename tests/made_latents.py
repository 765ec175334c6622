"""Latents of a run as evaluation leaves them, made by hand: `latents.npz` and a record's entry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from study.files import write_arrays

VALUES = np.linspace(-3, 3, 7, dtype=np.float32)
Decode = Callable[[np.ndarray], np.ndarray]


def decoder(dimensions: int, shape: tuple[int, ...], seed: int = 0) -> Decode:
    """N x D -> uint8 N x C x H x W: a fixed linear map, in patches of 7 pixels, squashed."""
    coarse = (dimensions, shape[0], shape[1] // 7, shape[2] // 7)
    weights = np.random.default_rng(seed).normal(size=coarse).repeat(7, 2).repeat(7, 3)
    weights = weights.reshape(dimensions, -1)

    def decode(z: np.ndarray) -> np.ndarray:
        squashed = 255 / (1 + np.exp(-z @ weights / np.sqrt(dimensions)))
        return squashed.astype(np.uint8).reshape(len(z), *shape)

    return decode


def leave(
    folder: Path,
    mean: np.ndarray,
    sd: np.ndarray | None,
    decode: Decode,
    classes: tuple[list[str], np.ndarray] | None = None,
    factors: dict[str, np.ndarray] | None = None,
    split: str = "eval",
) -> dict[str, Any]:
    """Write `latents.npz` of means N x D (sd: of the posterior, D; None: an autoencoder).

    Every second image is taken for a training image too. Returns the entry of the record.
    """
    random = np.random.default_rng(1)
    z = mean if sd is None else mean + sd * random.normal(size=mean.shape)
    arrays = {"mean": np.float32(mean), "z": np.float32(z)}
    arrays["train.z"] = arrays["z"][::2]
    if classes:
        arrays["classes"] = classes[1]
    walked = np.repeat(mean[None, None, 0], len(VALUES), 1).repeat(mean.shape[1], 0)
    for d in range(mean.shape[1]):
        walked[d, :, d] = VALUES
    arrays |= {"traverse": VALUES, "traversal_base": decode(mean[:1])[0]}
    arrays["traversals"] = np.stack([decode(line) for line in walked])
    arrays |= {"zeroed_originals": decode(z[:4]), "zeroed": zeroed(mean[:4], decode)}
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "latents.npz", {f"{split}.{k}": v for k, v in arrays.items()})
    return entry(mean, z, sd, classes[0] if classes else None, factors or {})


def zeroed(mean: np.ndarray, decode: Decode) -> np.ndarray:
    """Nothing zeroed, then one dimension after another."""
    kept = [np.ones(mean.shape[1]), *(1 - np.eye(mean.shape[1]))]
    return np.stack([decode(mean * mask) for mask in kept])


def entry(mean, z, sd, classes: list[str] | None, factors: dict[str, np.ndarray]) -> dict[str, Any]:
    """`latents` of a cell of the record; W1 by sorting, against N(0, 1)'s draws."""
    normal = np.sort(np.random.default_rng(2).normal(size=len(z)))
    variance = mean.var(0)
    kl = None if sd is None else (0.5 * (mean**2 + sd**2 - 1) - np.log(sd)).mean(0).tolist()

    def w1(values: np.ndarray) -> list[float]:
        return np.abs(np.sort(values, 0) - normal[:, None]).mean(0).tolist()

    def r(values: np.ndarray) -> list[float]:
        around = values - values.mean()
        scale = np.sqrt((around**2).mean() * variance)
        cov = (around[:, None] * (mean - mean.mean(0))).mean(0)
        return np.divide(cov, scale, out=np.zeros_like(cov), where=scale > 0).tolist()

    return {
        "dimensions": mean.shape[1],
        "images": len(mean),
        "kl": kl,
        "variance": variance.tolist(),
        "w1": w1(z),
        "w1_means": w1(mean),
        "factors": list(factors),
        "correlations": {name: r(values) for name, values in factors.items()},
        "classes": classes,
    }
