"""Whether a run of ours is near enough to the source's for their numbers to be compared."""

from typing import Any

from evaluate.claims.measured import find_row
from evaluate.claims.schema import Reference
from study.overrides import flatten

# Training examples seen, ours over the source's: outside of these the budgets differ too much.
LEAST, MOST = 0.5, 2.0


def obstacles(record: dict[str, Any], reference: Reference, rows: list[str]) -> list[str]:
    """What differs too much between our runs of these rows and the source's; each told once."""
    found = [] if _same_split(record, reference) else [_split_words(record, reference)]
    for name in rows:
        row = find_row(record, name)
        cells = [cell for cell in row["cells"] if cell.get("config")] if row else []
        for cell in cells:
            found += _of_run(cell, reference, name, record.get("budget"))
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


def _of_run(cell: dict[str, Any], reference: Reference, name: str, budget: str | None) -> list[str]:
    config, theirs = cell["config"], reference.rows[name]
    found = []
    size = (config["model"].get("input_dim") or [None])[-1]
    wanted = reference.measured.image_size
    if size and wanted and size != wanted:
        found.append(f"images of {size} px, the source's of {wanted}")
    flat = flatten(config)
    for key, value in theirs.settings.items():
        if key in flat and flat[key] != value:
            found.append(f"{key} is {flat[key]}, the source's {value}")
    return found + _budget(cell, reference, theirs.epochs or reference.measured.epochs, budget)


def _budget(
    cell: dict[str, Any], reference: Reference, epochs: int | None, budget: str | None
) -> list[str]:
    """Examples seen are training images x epochs; what the source leaves out is left out of both.

    An epoch count alone says nothing without the images, but is all that some sources state.
    """
    images = reference.measured.training_images
    ours, theirs, words = 1, 1, []
    if images:
        ours, theirs = cell["data"]["images"]["train"], images
        words.append("images")
    if epochs:
        ours *= cell["config"]["trainer"]["num_epochs"]
        theirs *= epochs
        words.append("epochs")
    if not words:
        words_of_ours = f"the study's budget '{budget}', and the source does not say how long it "
        return [words_of_ours + "trained"] if budget else []
    if LEAST <= ours / theirs <= MOST:
        return []
    return [
        f"{ours / theirs:.2g} times the source's training ({' x '.join(words)}: {ours:,} against "
        f"{theirs:,})"
    ]
