"""Whether a run of ours is near enough to the source's for their numbers to be compared."""

import itertools
import shlex
from typing import Any

from evaluate.claims.measured import find_row
from evaluate.claims.schema import Reference, SourceRow
from study.overrides import flatten

# Training examples seen, ours over the source's: outside of these the budgets differ too much.
LEAST, MOST = 0.5, 2.0
# Keys of a run's config, and sections of it, that change what is trained, on what or how long.
_TRAINED = ("dataset", "data", "networks", "model", "trainer")
_OF_ENGINE = (
    *("select", "kl_warmup", "free_bits", "reduction", "sampled_std"),
    *("latent_noise", "mmd_sigmas", "vaegan_gradients"),
)


def obstacles(record: dict[str, Any], reference: Reference, rows: list[str]) -> list[str]:
    """What differs too much between our runs of these rows and the source's; each told once."""
    found = [] if _same_split(record, reference) else [_split_words(record, reference)]
    for name in rows:
        row = find_row(record, name)
        cells = [cell for cell in row["cells"] if cell.get("config")] if row else []
        for cell in cells:
            found += _of_run(cell, reference, name)
            found += _silence(record, reference, reference.rows[name])
    return list(dict.fromkeys(found))


def _same_split(record: dict[str, Any], reference: Reference) -> bool:
    theirs = reference.measured.split
    if theirs == "held out":
        return record["split"] != "train"
    return theirs is None or theirs == record["split"]


def _split_words(record: dict[str, Any], reference: Reference) -> str:
    return f"measured on the {record['split']} split, by the source on {_split_name(reference)}"


def _split_name(reference: Reference) -> str:
    split = reference.measured.split
    return "images held out of training" if split == "held out" else f"the {split} split"


def _of_run(cell: dict[str, Any], reference: Reference, name: str) -> list[str]:
    config, theirs = cell["config"], reference.rows[name]
    found = []
    size = (config["model"].get("input_dim") or [None])[-1]
    wanted = reference.measured.image_size
    if size and wanted and size != wanted:
        found.append(f"images of {size} px, the source's of {wanted}")
    flat = flatten(config)
    computed = " as its code had it" if theirs.basis == "computed" else ""
    for key, value in theirs.settings.items():
        if key in flat and flat[key] != value:
            found.append(f"{key} is {flat[key]}, the source's {value}{computed}")
    return found + _budget(cell, reference, theirs)


def _epochs(reference: Reference, row: SourceRow) -> int | None:
    return row.epochs or reference.measured.epochs


def _budget(cell: dict[str, Any], reference: Reference, row: SourceRow) -> list[str]:
    """Examples seen are training images x epochs; what the source leaves out is left out of both.

    An epoch count alone says nothing without the images, but is all that some sources state.
    """
    images, epochs = reference.measured.training_images, _epochs(reference, row)
    ours, theirs, words = 1, 1, []
    if images:
        ours, theirs = cell["data"]["images"]["train"], images
        words.append("images")
    if epochs:
        ours *= cell["config"]["trainer"]["num_epochs"]
        theirs *= epochs
        words.append("epochs")
    computed = "; epochs as its code had them" if epochs and row.basis == "computed" else ""
    if not words or LEAST <= ours / theirs <= MOST:
        return []
    return [
        f"{ours / theirs:.2g} times the source's training ({' x '.join(words)}: {ours:,} against "
        f"{theirs:,}{computed})"
    ]


def _silence(record: dict[str, Any], reference: Reference, row: SourceRow) -> list[str]:
    """A run that we cut, where the source does not say all of how long it trained: by how much it
    was cut cannot be said."""
    stated = {
        "on how many images": reference.measured.training_images,
        "for how many epochs": _epochs(reference, row),
    }
    unknown = [name for name, value in stated.items() if not value]
    if not unknown:
        return []
    cuts = [f"the study's budget '{record['budget']}'"] if record.get("budget") else []
    if changed := changes(record.get("command") or ""):
        cuts.append(f"--set {', '.join(changed)}")
    if not cuts:
        return []
    what = " and ".join(unknown)
    return [f"{' and '.join(cuts)}, and the source does not say {what} it trained"]


def changes(command: str) -> list[str]:
    """What a study's command sets otherwise (`--set`) of what is trained, on what or how long."""
    words = shlex.split(command)
    texts = [after for before, after in itertools.pairwise(words) if before == "--set"]
    texts += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return [text for text in texts if _trains(text)]


def _trains(text: str) -> bool:
    first, *rest = text.partition("=")[0].strip().split(".")
    return first in _TRAINED or (first == "engine" and "".join(rest[:1]) in _OF_ENGINE)


def uncut(command: str) -> str:
    """The command of the study as it stands in its file."""
    words, dropped = shlex.split(command), set(changes(command))
    kept: list[str] = []
    at = 0
    while at < len(words):
        word, value = words[at], words[at + 1] if at + 1 < len(words) else ""
        if word == "--budget" or (word == "--set" and value in dropped):
            at += 2
            continue
        if not word.startswith("--budget=") and word.removeprefix("--set=") not in dropped:
            kept.append(word)
        at += 1
    return shlex.join(kept)
