"""Whether a run of ours is near enough to the source's for their numbers to be compared."""

from collections.abc import Collection
from typing import Any

from evaluate.claims.command import changes
from evaluate.claims.measured import find_row
from evaluate.claims.schema import Reference, SourceRow
from study.overrides import flatten

# Training examples seen, ours over the source's: outside of these the budgets differ too much.
LEAST, MOST = 0.5, 2.0
# Settings that say what a loss weighs, and nothing of how much is trained.
_OF_LOSS = {"model.beta", "model.reg_weight", "engine.reduction"}


def obstacles(
    record: dict[str, Any],
    reference: Reference,
    rows: list[str],
    over: Collection[str | None] = (),
) -> list[str]:
    """What differs too much between our runs of these rows and the source's; each told once.

    `over`: what the numbers are of, as their metrics say. One of the training is of the training
    whatever split is measured; one of the data set alone is of no run at all.
    """
    of_data = set(over) == {"data"}
    no_split = bool(over) and set(over) <= {"data", "training"}
    found = []
    if not no_split and not _same_split(record, reference):
        found.append(_split_words(record, reference))
    for name in rows:
        row = find_row(record, name)
        cells = [cell for cell in row["cells"] if cell.get("config")] if row else []
        for cell in cells:
            found += _of_size(cell, reference)
            if not of_data:
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


def _of_size(cell: dict[str, Any], reference: Reference) -> list[str]:
    size = (cell["config"]["model"].get("input_dim") or [None])[-1]
    wanted = reference.measured.image_size
    if not size or not wanted or size == wanted:
        return []
    return [f"images of {size} px, the source's of {wanted}"]


def _of_run(cell: dict[str, Any], reference: Reference, name: str) -> list[str]:
    config, theirs = cell["config"], reference.rows[name]
    found = []
    flat = flatten(config)
    computed = " as its code had it" if theirs.basis == "computed" else ""
    for key, value in theirs.settings.items():
        # A change of the engine that a config does not name was not made: it is none.
        if (key in flat or key.startswith("engine.")) and flat.get(key) != value:
            found.append(f"{key} is {_set(flat.get(key))}, the source's {_set(value)}{computed}")
    return found + _budget(cell, reference, theirs)


def _set(value: Any) -> str:
    return "not set" if value is None else str(value)


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
    was cut cannot be said.

    A source that says nothing of how long it trained, on what or with which networks leaves our
    budget open, too: there is nothing of its that we would have cut.
    """
    stated = {
        "on how many images": reference.measured.training_images,
        "for how many epochs": _epochs(reference, row),
    }
    unknown = [name for name, value in stated.items() if not value]
    open_to_us = len(unknown) == len(stated) and set(row.settings) <= _OF_LOSS
    if not unknown or open_to_us:
        return []
    cuts = [f"the study's budget '{record['budget']}'"] if record.get("budget") else []
    if changed := changes(record.get("command") or ""):
        cuts.append(f"--set {', '.join(changed)}")
    if not cuts:
        return []
    what = " and ".join(unknown)
    return [f"{' and '.join(cuts)}, and the source does not say {what} it trained"]
