"""The kinds of config file, told apart, so that one in another's place is called by its name."""

from pathlib import Path
from typing import Any

from study.errors import StudyError
from study.jsonfile import read_json_object

# Of each kind: the key that it has and no other kind, its folder, and what takes such a file.
KINDS = {
    "run": ("networks", "configs/runs/", "'python -m train' takes"),
    "study": ("runs", "configs/studies/", "'python reproduce.py' takes"),
    "cluster": ("stages", "configs/clusters/", "says how jobs are submitted"),
}


def read_config(file: Path, kind: str) -> dict[str, Any]:
    """Read a JSON file that is to be of `kind`; StudyError where it plainly is of another."""
    raw = read_json_object(file)
    key, folder, _ = KINDS[kind]
    for other, (its_key, _, what) in KINDS.items():
        if key not in raw and its_key in raw:
            raise StudyError(
                f"{file}: this is a {other} file, which {what}; a {kind} file is wanted here "
                f"({folder})"
            )
    return raw
