"""Files of published weights, looked for where they may lie and checked; never downloaded here.

`evaluate.prefetch` fetches them, when a person asks for it.
"""

import hashlib
import shlex
from pathlib import Path

import torch


class WeightsError(ValueError):
    """A file of weights is not what its name says; the message names it."""


def hub_folder() -> Path:
    """Where torch keeps downloaded weights: `$TORCH_HOME/hub/checkpoints` unless told otherwise."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_file(file: str, folder: Path | None = None) -> Path | None:
    """`file` in `folder` or in torch's hub cache; None where neither has it."""
    for place in (folder, hub_folder()):
        if place is not None and (path := Path(place) / file).is_file():
            return path
    return None


def places(folder: Path | None = None) -> str:
    """Where `find_file` looks, in words."""
    return " or ".join(str(place) for place in (folder, hub_folder()) if place is not None)


def prefetching(folder: Path | None = None) -> str:
    """The command that fetches weights to where `find_file` looks first."""
    words = ["python", "-m", "evaluate", "prefetch"]
    if folder is not None:
        words += ["--weights", str(folder)]
    return f"'{shlex.join(words)}' on a machine with internet"


def where_to_put(file: str, origin: str, folder: Path | None = None) -> str:
    """What to do where `find_file` finds none: what fetches it, where it looked, whence it is."""
    return (
        f"{prefetching(folder)} fetches it, or put it into {places(folder)} (it is {origin}{file})"
    )


def digest_in(file: str) -> str:
    """How the SHA-256 of a file begins, as its name has it: `vgg16-397923af.pth`.

    Eight hexadecimal digits, by torch hub's convention, are all that is published: they tell a
    damaged file, not a forged one. What is loaded is therefore never code (`weights_only`).
    """
    return Path(file).stem.rsplit("-", 1)[-1]


def check_digest(path: Path, origin: str) -> str:
    """The file's SHA-256; WeightsError where it does not begin as the file's name says."""
    want = digest_in(path.name)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(want):
        folder = None if path.parent == hub_folder() else path.parent
        raise WeightsError(
            f"{path}: its SHA-256 begins with {found[:8]}, its name says {want}: it was cut short "
            f"or is another file; {prefetching(folder)} fetches it again (it is "
            f"{origin}{path.name})"
        )
    return found
