"""The classifier of a data set: `classifier.pt` and `classifier.json` beside its images.

It is trained once, by whichever process comes first, and belongs to these very training images and
this recipe: with others it is trained anew.
"""

import hashlib
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import torch

from evaluate.features.classifier import Classifier, train_classifier
from evaluate.features.recipe import RECIPE
from evaluate.features.targets import Targets
from study.datasets import Dataset
from study.errors import one_line
from study.files import write_json, written_whole
from study.jsonfile import read_json_object
from study.lock import Busy, locked
from study.progress import say, say_once

FILE = "classifier.pt"
RECORD = "classifier.json"

# Those that could not be kept, by SHA-256 of the training images: trained once a process.
_not_kept: dict[str, "Trained"] = {}


@dataclass(frozen=True)
class Trained:
    """A classifier in eval mode on the CPU, and what its record says of it."""

    net: Classifier
    record: dict[str, Any]


def stored_classifier(dataset: Dataset, targets: Targets, device: torch.device) -> Trained:
    """The classifier of `dataset`, trained on `device` where there is none that holds.

    Where the folder cannot be written to, a line says so and it is kept for this process alone.
    """
    found = read_classifier(dataset, targets) or _not_kept.get(_train_sha256(dataset))
    if found is not None:
        return found
    with ExitStack() as held:
        refused = _wait_for_turn(dataset, held)
        # Another process may have trained it meanwhile.
        found = read_classifier(dataset, targets, aloud=True)
        if found is not None:
            return found
        file, record = _train(dataset, targets, device)
        refused = refused or _write(dataset, file, record)
    trained = Trained(_load(file, dataset, targets), record)
    if refused is not None:
        why = refused.strerror or one_line(refused)
        say(f"{dataset.folder}: cannot be written to ({why}): {FILE} is of this process alone")
        _not_kept[_train_sha256(dataset)] = trained
    return trained


def _train_sha256(dataset: Dataset) -> str:
    return dataset.hashes()["train"]


def _recipe() -> dict[str, Any]:
    # As JSON gives it back: lists, no tuples.
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(RECIPE).items()}


def _wait_for_turn(dataset: Dataset, held: ExitStack) -> OSError | None:
    """Hold the classifier for this process until `held` is closed; why it cannot be held."""
    path = dataset.folder / FILE
    while True:
        try:
            held.enter_context(locked(path))
            return None
        except Busy:
            say_once(f"{path}: another process is training it; waiting for it")
            time.sleep(0.5)
        except OSError as error:
            return error


def read_classifier(dataset: Dataset, targets: Targets, aloud: bool = False) -> Trained | None:
    """The classifier that lies there, if it is whole and of these images and this recipe;
    `aloud`: a line says why not."""
    path = dataset.folder / FILE
    why = None
    try:
        record = read_json_object(dataset.folder / RECORD)
        file = path.read_bytes()
        if hashlib.sha256(file).hexdigest() != record.get("sha256"):
            why = "damaged"
        elif record.get("train_sha256") != _train_sha256(dataset):
            why = "trained on other images"
        elif record.get("recipe") != _recipe():
            why = "trained by another recipe"
        else:
            return Trained(_load(file, dataset, targets), record)
    except FileNotFoundError:
        pass
    except Exception as error:
        why = f"damaged ({one_line(error)})"
    if aloud and why and path.exists():
        say(f"{path}: {why}; it is trained anew")
    return None


def _load(file: bytes, dataset: Dataset, targets: Targets) -> Classifier:
    net = Classifier(dataset.shape, targets.classes, RECIPE)
    net.load_state_dict(torch.load(BytesIO(file), map_location="cpu", weights_only=True))
    return net.requires_grad_(False).eval()


def _train(
    dataset: Dataset, targets: Targets, device: torch.device
) -> tuple[bytes, dict[str, Any]]:
    """The weights as a file, and its record; a line says how good it is."""
    started = time.monotonic()
    what = f"classifier of {dataset.name}"
    net, score = train_classifier(dataset.images("train"), targets, RECIPE, device, what)
    file = BytesIO()
    torch.save(net.cpu().state_dict(), file)
    record = {
        "recipe": _recipe(),
        "train_sha256": _train_sha256(dataset),
        "sha256": hashlib.sha256(file.getvalue()).hexdigest(),
        "targets": targets.kind,
        "classes": list(targets.classes),
    } | asdict(score)
    good = "" if score.accuracy is None else f", {score.accuracy:.1%} right on images kept apart"
    say(f"{what} ({targets.kind}): trained in {time.monotonic() - started:.0f} s{good}")
    return file.getvalue(), record


def _write(dataset: Dataset, file: bytes, record: dict[str, Any]) -> OSError | None:
    """Both files, each whole; a record that is older than its file does not hold. Why not."""
    try:
        with written_whole(dataset.folder / FILE, "wb") as opened:
            opened.write(file)
        write_json(dataset.folder / RECORD, record)
    except OSError as error:
        return error
    return None
