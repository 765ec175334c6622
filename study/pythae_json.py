"""Pythae's own config JSON, checked: Pythae ignores unknown keys and converts types silently.

`AEConfig(**{"latent_dimm": 3})` passes upstream, and so does `beta="8"`. Here each key must be a
field of Pythae's dataclass and each value must have the field's type as JSON has it (a whole
number may stand for a float, nothing else is converted).
"""

import dataclasses
import difflib
import json
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from study.errors import StudyError, one_line

MODELS = {
    "AEConfig": "AE",
    "VAEConfig": "VAE",
    "BetaVAEConfig": "BetaVAE",
    "WAE_MMD_Config": "WAE_MMD",
}
TRAINERS = {"BaseTrainerConfig": "BaseTrainer"}

# Set by the run directory and by Pythae's constructors: a value in a config would be ignored.
OURS = {
    "output_dir": "the run directory decides it (--out)",
    "world_size": "one process per run is what runs here",
    "rank": "one process per run is what runs here",
    "local_rank": "one process per run is what runs here",
}
# Pythae takes any whole number here and fails, or trains nothing, much later.
AT_LEAST_ONE = (
    "latent_dim",
    "num_epochs",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
)
# Pythae writes these two into every saved config and sets them itself when it builds the model.
IGNORED = ("uses_default_encoder", "uses_default_decoder")


def suggest(word: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` where one of `known` is near, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


@cache
def config_class(kind: str, name: str) -> type:
    """Pythae's config dataclass `name`; `kind` is `model` or `trainer`."""
    import pythae.models
    import pythae.trainers

    return getattr(pythae.models if kind == "model" else pythae.trainers, name)


def _check_value(cls: type, key: str, value: Any, where: str) -> None:
    # JSON mode: a list may become a tuple, as it must, but "8" is no 8 and true is no 1.
    adapter = TypeAdapter(get_type_hints(cls)[key])
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        got = json.dumps(value)
        raise StudyError(f"{where}.{key}: {first['msg']}, not {got}") from None


def check_section(kind: str, section: dict[str, Any], where: str) -> Any:
    """Build Pythae's config object from a `model` or `trainer` section.

    `where` is what the error begins with (file and key). Returns the Pythae config, defaults
    filled in; StudyError for an unknown name or key, a wrong type, a value Pythae refuses.
    """
    known = MODELS if kind == "model" else TRAINERS
    name = section.get("name")
    if not isinstance(name, str):
        raise StudyError(f"{where}.name: one of {', '.join(known)} is wanted")
    if name not in known:
        hint = suggest(name, list(known))
        raise StudyError(f"{where}.name: '{name}' is not one of {', '.join(known)}{hint}")
    cls = config_class(kind, name)
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    given = {key: value for key, value in section.items() if key != "name"}
    for key, value in given.items():
        if key not in fields:
            hint = suggest(key, fields)
            raise StudyError(
                f"{where}.{key}: unknown key{hint}; {name} has {', '.join(sorted(fields))}"
            )
        if key in OURS and value not in (None, -1):
            raise StudyError(f"{where}.{key}: leave it out, {OURS[key]}")
        _check_value(cls, key, value, where)
        if key in AT_LEAST_ONE and value < 1:
            raise StudyError(f"{where}.{key}: at least 1 is wanted, not {value}")
    given = {key: value for key, value in given.items() if key not in OURS}
    try:
        return cls(**(given | _single_process(kind)))
    except (ValidationError, TypeError, AttributeError, ValueError, AssertionError) as error:
        raise StudyError(f"{where}: {name} refuses it: {one_line(error)}") from None


def _single_process(kind: str) -> dict[str, int]:
    # Stated, because Pythae reads WORLD_SIZE and RANK of the environment where they are -1, and
    # a cluster that sets them would start distributed training.
    return {} if kind == "model" else {"world_size": 1, "rank": 0, "local_rank": 0}


def section_of(config: Any) -> dict[str, Any]:
    """A Pythae config as the JSON section it came from, defaults filled in."""
    section = json.loads(config.to_json_string())
    ordered = {"name": section.pop("name")}
    return ordered | {k: v for k, v in section.items() if k not in OURS and k not in IGNORED}


def is_variational(config: Any) -> bool:
    """Whether the model of this config has an encoder that gives a mean and a log-variance."""
    from pythae.models import VAEConfig

    return isinstance(config, VAEConfig)
