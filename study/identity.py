"""What makes a run this one and no other: its config, and its data."""

import hashlib
import json
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from study.overrides import apply_overrides, flatten, value_at
from study.schema import Evaluation
from study.schema_training import Engine

# What of a config may change without its being another run: how it is measured, and that on which
# no number depends.
EVALUATION = "evaluation"
NO_NUMBERS = ("tracking", "engine.checkpoint_every", "engine.keep", "engine.stage_to")


def _within(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"config.{section}.")


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of all that counts; what a run of an older version has no word for is at
    its default, since it did without."""
    config = dict(identity["config"])
    for name, section in (("engine", Engine), (EVALUATION, Evaluation)):
        with suppress(ValidationError):
            config[name] = section.model_validate(config.get(name, {})).model_dump()
    flat = flatten({"config": config, "data": identity["data"]})
    return {
        key: value
        for key, value in flat.items()
        if not any(_within(key, section) for section in NO_NUMBERS)
    }


def differences(
    old: dict[str, Any], new: dict[str, Any], evaluation: bool
) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its value in `old` and in `new`, where they differ; a missing key counts as
    null. `evaluation`: whether how the run is measured counts, too."""
    one, two = _flat(old), _flat(new)
    return {
        key: (one.get(key), two.get(key))
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key) and (evaluation or not _within(key, EVALUATION))
    }


def digest(identity: dict[str, Any]) -> str:
    """A SHA-256 that two identities share when a run of one is a run of the other."""
    flat = {key: value for key, value in _flat(identity).items() if not _within(key, EVALUATION)}
    told = {key: value for key, value in flat.items() if value is not None}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def taken_over(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The config `old` with the values of `new` where a change makes no other run."""
    changed = {
        key: value_at(new, key)
        for key in (EVALUATION, *NO_NUMBERS)
        if _at(old, key) != value_at(new, key)
    }
    return apply_overrides(old, changed, "run.json")


def _at(config: dict[str, Any], key: str) -> Any:
    try:
        return value_at(config, key)
    except KeyError:
        return None
