"""What a model makes of images as latents: how they are distributed, and what they tell."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from evaluate.classes import Known, class_names, known_of
from evaluate.generate import to_bytes
from evaluate.measure import batches, named, refuse_unless_finite
from evaluate.metrics.active_units import ACTIVE
from evaluate.metrics.class_information import class_information
from evaluate.metrics.correlation import correlations
from evaluate.metrics.kl import kl_per_dimension
from evaluate.metrics.purity import chance_of_purity, purity
from evaluate.metrics.reencoding import FEWEST, reencoding
from evaluate.metrics.wasserstein import wasserstein_from_normal
from evaluate.partial import Partial, blocks
from evaluate.result import Values
from study.datasets import Dataset
from study.progress import progress
from study.schema import LatentSpace
from train.dataset import to_unit
from train.latents.base import GaussianPosterior, Latents
from train.latents.draws import LATENTS, TRAINING_LATENTS, Noise


@dataclass(frozen=True)
class LatentMeasures:
    """What was found: `about` is the entry's `latents` in metrics.json, `arrays` are those of
    latents.npz, the others as in `measure.Result`; `no_holes` says why holes have no number."""

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]
    per_image: dict[str, np.ndarray]
    per_split: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    no_holes: str | None = None


@dataclass(frozen=True)
class Encodings:
    """Of N images: the posterior's means and a draw of z for each (the embedding twice, where
    there is no posterior), float32 N x D; the KL of each dimension where it has a closed form,
    and the re-encoding."""

    mean: np.ndarray
    z: np.ndarray
    kl: np.ndarray | None
    again: np.ndarray


def is_flat(latents: Latents, shape: tuple[int, ...]) -> bool:
    """Whether the model makes an image of C x H x W into a vector of a plain space, and not into
    codes, a grid, a point of a sphere or a ball, or nothing at all."""
    if latents.codebook is not None or latents.curved:
        return False
    with torch.inference_mode():
        z = latents.encode(torch.zeros(1, *shape, device=latents.device)).z
    return z.ndim == 2 and z.shape[1] > 0


@dataclass
class Encoder:
    """Takes images through a model, a block at a time; blocks that `partial` has are done."""

    latents: Latents
    seed: int
    batch_size: int
    what: str
    partial: Partial

    def encode(self, images: np.ndarray) -> Encodings:
        """uint8 images N x C x H x W. RunFailed, naming them, where a latent is not finite."""
        whole = self._whole(images, training=False)
        return Encodings(whole["mean"], whole["z"], whole.get("kl"), whole["again"])

    def draw_training(self, images: np.ndarray) -> np.ndarray:
        """z alone, N x D, of images of the training split."""
        return self._whole(images, training=True)["z"]

    @torch.inference_mode()
    def _whole(self, images: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        name = "latents-train" if training else "latents"
        values = Values()
        with progress(len(images), f"{self.what}, {name}", "image") as bar:
            for number, block in enumerate(blocks(len(images))):
                arrays = self.partial.get(f"{name}-{number}")
                if arrays is None:
                    arrays = self._block(number, block, images, training, bar)
                    self.partial.put(f"{name}-{number}", arrays)
                else:
                    bar.update(len(block))
                values.add(arrays)
        return values.whole()

    def _block(
        self, number: int, block: range, images: np.ndarray, training: bool, bar: Any
    ) -> dict[str, np.ndarray]:
        noise = Noise(self.seed, TRAINING_LATENTS if training else LATENTS, number)
        values, shown = Values(), images[block.start : block.stop]
        for start, x in batches(shown, self.batch_size, self.latents.device):
            at = block.start + start
            values.add(named(self.what, at, len(x), lambda x=x: self._batch(x, noise, training)))
            bar.update(len(x))
        return values.whole()

    def _batch(
        self, x: torch.Tensor, noise: Noise, training: bool
    ) -> dict[str, torch.Tensor | np.ndarray]:
        z = self.latents.aggregate(x, noise)
        found: dict[str, torch.Tensor | np.ndarray] = {"z": _finite(z)}
        if training:
            return found
        encoded = self.latents.encode(x)
        found["mean"] = _finite(encoded.z)
        if isinstance(q := encoded.posterior, GaussianPosterior):
            found["kl"] = kl_per_dimension(q.mean.double(), q.log_var.double())
        found["again"] = reencoding(z, self.latents.encode(self.latents.decode(z)).z)
        refuse_unless_finite("a re-encoding", found["again"])
        return found


def _finite(latents: torch.Tensor) -> np.ndarray:
    refuse_unless_finite("a latent", latents)
    return latents.float().cpu().numpy()


def measure_latents(
    encoder: Encoder, images: np.ndarray, dataset: Dataset, split: str, how: LatentSpace
) -> LatentMeasures:
    """Of a model with flat latents. `images` are the first of the `split`, or all of them."""
    of_split = encoder.encode(images)
    first = dataset.images("train")[: how.training_images]
    of_training = encoder.draw_training(first)
    known = known_of(dataset, split, len(images))
    about = _about(of_split, known) | {"classes": None}
    if known.classes is not None:
        # The split may lack a class.
        more = known_of(dataset, "train", len(first)).classes
        about["classes"] = class_names(dataset, known.classes, more)
    per_split, missing = _numbers(of_split, of_training, known, about, how)
    arrays = {"mean": of_split.mean, "z": of_split.z, "classes": known.classes}
    arrays |= {"train.z": of_training} | _pictures(encoder, images, how)
    kept = {key: array for key, array in arrays.items() if array is not None}
    per_image = {"re-encoding": of_split.again}
    return LatentMeasures(about, kept, per_image, per_split, missing, _no_holes(about))


def _no_holes(about: dict[str, Any]) -> str | None:
    if about["images"] < FEWEST:
        return f"fewer than {FEWEST} images"
    # Samples and draws of images alike are noise that no image depends on.
    if not _active(about).any():
        return "no latent dimension is active: all images are one"
    return None


def _active(about: dict[str, Any]) -> np.ndarray:
    """Whether each dimension's means vary."""
    return np.array(about["variance"]) > ACTIVE


def _about(found: Encodings, known: Known) -> dict[str, Any]:
    """Of each dimension."""
    count, dimensions = found.mean.shape
    varied = found.mean.astype(np.float64).var(0, ddof=1) if count > 1 else np.zeros(dimensions)
    return {
        "dimensions": dimensions,
        "images": count,
        "kl": None if found.kl is None else found.kl.mean(0).tolist(),
        "variance": varied.tolist(),
        "w1": wasserstein_from_normal(found.z).tolist(),
        "w1_means": wasserstein_from_normal(found.mean).tolist(),
        "factors": list(known.factors),
        "correlations": {
            name: correlations(found.mean, factor).tolist()
            for name, factor in known.factors.items()
        },
    }


def _numbers(
    of_split: Encodings,
    of_training: np.ndarray,
    known: Known,
    about: dict[str, Any],
    how: LatentSpace,
) -> tuple[dict[str, float], dict[str, str]]:
    """Those that are defined, by key, and why one is missing."""
    numbers = {
        "W1": float(np.mean(about["w1"])),
        "W1 (train)": float(wasserstein_from_normal(of_training).mean()),
        "W1 (means)": float(np.mean(about["w1_means"])),
        "variance of means": float(np.mean(about["variance"])),
    }
    for name, r in about["correlations"].items():
        numbers[f"correlation ({name})"] = float(np.abs(r)[_active(about)].max(initial=0))
    missing: dict[str, str] = {}
    if len(of_split.mean) < 2:
        del numbers["variance of means"]
        missing["variance of means"] = "fewer than two images"
    if known.classes is None:
        return numbers, missing
    information = class_information(of_split.z, known.classes)
    if information is None:
        missing["class information"] = "all images are of one class"
    else:
        numbers["class information"] = information
    return numbers | _purities(of_split.mean, known.classes, how.neighbours, missing), missing


def _purities(
    means: np.ndarray, classes: np.ndarray, k: int, missing: dict[str, str]
) -> dict[str, float]:
    if len(means) <= k:
        why = f"{k} neighbours want more than {len(means)} images"
        missing |= dict.fromkeys(("purity", "purity (adjusted)"), why)
        return {}
    found, chance = purity(means, classes, k), chance_of_purity(classes)
    if chance == 1:
        missing["purity (adjusted)"] = "all images are of one class"
        return {"purity": found}
    return {"purity": found, "purity (adjusted)": (found - chance) / (1 - chance)}


@torch.inference_mode()
def _pictures(encoder: Encoder, images: np.ndarray, how: LatentSpace) -> dict[str, np.ndarray]:
    """What a dimension does: the first image with one dimension after another over a range, and
    images spread over the split with one after another at 0."""
    latents, shape = encoder.latents, images.shape[1:]
    chosen = np.linspace(0, len(images) - 1, min(how.zeroed, len(images))).round().astype(np.int64)
    originals = images[chosen]
    base, means = (
        latents.encode(to_unit(shown).to(latents.device)).z for shown in (images[:1], originals)
    )
    dimensions, values = base.shape[1], means.new_tensor(how.traverse)
    traversed = base.repeat(dimensions, len(values), 1)
    zeroed = means.repeat(dimensions + 1, 1, 1)
    for d in range(dimensions):
        traversed[d, :, d] = values
        zeroed[d + 1, :, d] = 0
    return {
        "traversal_base": np.array(images[0]),
        "traverse": np.array(how.traverse, np.float32),
        "traversals": _decoded(encoder, traversed).reshape(*traversed.shape[:2], *shape),
        "zeroed_originals": originals,
        "zeroed": _decoded(encoder, zeroed).reshape(*zeroed.shape[:2], *shape),
    }


def _decoded(encoder: Encoder, z: torch.Tensor) -> np.ndarray:
    """Any latents ... x D as uint8 images, a batch at a time."""

    def parts() -> Iterator[np.ndarray]:
        for batch in z.flatten(0, 1).split(encoder.batch_size):
            shown = encoder.latents.decode(batch)
            refuse_unless_finite(f"{encoder.what}: a traversal", shown)
            yield to_bytes(shown)

    return np.concatenate(list(parts()))
