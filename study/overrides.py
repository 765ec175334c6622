"""`--set a.b=c`: one key of a config changed from the command line."""

from copy import deepcopy
from typing import Any

from study.errors import StudyError
from study.jsonfile import parse_json


def parse_override(text: str) -> tuple[str, Any]:
    """`model.beta=4` as (`model.beta`, 4). The value is JSON; what is no JSON is a string."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or any(not part for part in key.split(".")):
        raise StudyError(f"--set {text}: KEY=VALUE is wanted, such as --set model.beta=4")
    try:
        return key, parse_json(value)
    except ValueError:
        return key, value


def parse_overrides(texts: list[str]) -> dict[str, Any]:
    """Several `--set` values; the same key twice is refused."""
    made: dict[str, Any] = {}
    for text in texts:
        key, value = parse_override(text)
        if key in made:
            raise StudyError(f"--set {text}: '{key}' is set twice")
        made[key] = value
    return made


def apply_overrides(config: dict[str, Any], overrides: dict[str, Any], where: str) -> dict:
    """A copy of `config` with each dotted key replaced; objects on the way are made if missing."""
    config = deepcopy(config)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        at = config
        for depth, part in enumerate(parents):
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                inner = ".".join(parents[: depth + 1])
                raise StudyError(f"{where}: '{inner}' is a value, so '{key}' cannot be set in it")
        at[last] = deepcopy(value)
    return config


def value_at(config: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; KeyError where there is none."""
    at: Any = config
    for part in key.split("."):
        if not isinstance(at, dict):
            raise KeyError(key)
        at = at[part]
    return at


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, lists as values: the form in which two configs are compared."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
