"""Pythae's own config JSON, checked: Pythae ignores unknown keys and converts types silently.

`AEConfig(**{"latent_dimm": 3})` passes upstream, and so does `beta="8"`. Here each key must be a
field of Pythae's dataclass and each value must have the field's type as JSON has it (a whole
number may stand for a float, nothing else is converted).
"""

import contextlib
import dataclasses
import difflib
import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from study.errors import StudyError, one_line
from study.pythae_bounds import PARTS, check_bounds

MODELS = {
    "AEConfig": "AE",
    "VAEConfig": "VAE",
    "BetaVAEConfig": "BetaVAE",
    "WAE_MMD_Config": "WAE_MMD",
    "VQVAEConfig": "VQVAE",
    "VAEGANConfig": "VAEGAN",
    "Adversarial_AE_Config": "Adversarial_AE",
    "BetaTCVAEConfig": "BetaTCVAE",
    "CIWAEConfig": "CIWAE",
    "DisentangledBetaVAEConfig": "DisentangledBetaVAE",
    "FactorVAEConfig": "FactorVAE",
    "HVAEConfig": "HVAE",
    "INFOVAE_MMD_Config": "INFOVAE_MMD",
    "IWAEConfig": "IWAE",
    "MIWAEConfig": "MIWAE",
    "MSSSIM_VAEConfig": "MSSSIM_VAE",
    "PIWAEConfig": "PIWAE",
    "PoincareVAEConfig": "PoincareVAE",
    "RAE_GP_Config": "RAE_GP",
    "RAE_L2_Config": "RAE_L2",
    "RHVAEConfig": "RHVAE",
    "SVAEConfig": "SVAE",
    "VAE_IAF_Config": "VAE_IAF",
    "VAE_LinNF_Config": "VAE_LinNF",
    "VAMPConfig": "VAMP",
}
TRAINERS = {
    "BaseTrainerConfig": "BaseTrainer",
    "AdversarialTrainerConfig": "AdversarialTrainer",
    "CoupledOptimizerTrainerConfig": "CoupledOptimizerTrainer",
    "CoupledOptimizerAdversarialTrainerConfig": "CoupledOptimizerAdversarialTrainer",
}
# Which trainer a model needs, where it is not the BaseTrainer: `TrainingPipeline`'s own rule.
TRAINER_OF = {
    "VAEGANConfig": "CoupledOptimizerAdversarialTrainerConfig",
    "Adversarial_AE_Config": "AdversarialTrainerConfig",
    "FactorVAEConfig": "AdversarialTrainerConfig",
    "RAE_L2_Config": "CoupledOptimizerTrainerConfig",
    "PIWAEConfig": "CoupledOptimizerTrainerConfig",
}
# Trainers with several optimizers take these over from BaseTrainerConfig and never read them.
OF_ONE_OPTIMIZER = (
    "learning_rate",
    "optimizer_cls",
    "optimizer_params",
    "scheduler_cls",
    "scheduler_params",
)

# Keys that would be ignored here, and why.
_ONE_PROCESS = "one process a run is what runs here"
OURS = {
    "output_dir": "the run directory decides it (--out)",
    "steps_predict": "'python -m evaluate' draws the pictures",
    "world_size": _ONE_PROCESS,
    "rank": _ONE_PROCESS,
    "local_rank": _ONE_PROCESS,
    "dist_backend": _ONE_PROCESS,
    "master_addr": _ONE_PROCESS,
    "master_port": _ONE_PROCESS,
}
# What Pythae writes of them into its saved configs: no wish, so no reason to refuse.
PASTED = (None, -1, "nccl", "localhost", "12345")
# Pythae reads these where a config leaves them out, and sets the MASTER ones: a cluster's
# environment would start distributed training, or change what is recorded as the run's config.
_ENVIRONMENT = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Left out of a resolved config: folders and ranks, and keys that Pythae writes into every
# saved config and sets itself when it builds the model.
UNRECORDED = (
    "output_dir",
    "world_size",
    "rank",
    "local_rank",
    "uses_default_encoder",
    "uses_default_decoder",
    "uses_default_discriminator",
    "uses_default_metric",
    "discriminator_input_dim",
)


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
    # Pythae has `scheduler_cls: str = None`, writes the null into what it saves, and refuses it.
    defaults = {field.name for field in dataclasses.fields(cls) if field.default is None}
    given = {
        key: value
        for key, value in section.items()
        if key != "name" and not (value is None and key in defaults)
    }
    for key, value in given.items():
        if key not in fields:
            hint = suggest(key, fields)
            raise StudyError(
                f"{where}.{key}: unknown key{hint}; {name} has {', '.join(sorted(fields))}"
            )
        if key in OURS and value not in PASTED:
            raise StudyError(f"{where}.{key}: leave it out, {OURS[key]}")
        _check_value(cls, key, value, where)
        check_bounds(cls, key, value, where)
        _refuse_unread(cls, key, value, where)
    given = {key: value for key, value in given.items() if key not in OURS}
    if kind == "trainer":
        given |= {"world_size": 1, "rank": 0, "local_rank": 0}
    with _without_cluster_variables():
        return _built(cls, given, where)


def optimized_parts(cls: type) -> list[str]:
    """The parts of a model for which a trainer's config class has an optimizer each, or none."""
    fields = {field.name for field in dataclasses.fields(cls)}
    return [part for part in PARTS if f"{part}_learning_rate" in fields]


def _refuse_unread(cls: type, key: str, value: Any, where: str) -> None:
    parts = optimized_parts(cls)
    # A default is what Pythae itself writes into a saved config.
    if parts and key in OF_ONE_OPTIMIZER and value != getattr(cls(), key):
        instead = ", ".join(f"{part}_{key}" for part in parts)
        raise StudyError(f"{where}.{key}: {cls.__name__} does not read it; it has {instead}")
    if parts and key == "amp" and value:
        raise StudyError(f"{where}.{key}: {cls.__name__} does not read it; leave it out")


@contextlib.contextmanager
def _without_cluster_variables() -> Iterator[None]:
    kept = {key: os.environ.pop(key) for key in _ENVIRONMENT if key in os.environ}
    try:
        yield
    finally:
        for key in _ENVIRONMENT:
            os.environ.pop(key, None)
        os.environ.update(kept)


def _built(cls: type, given: dict[str, Any], where: str) -> Any:
    """Pythae's config, and once its optimizer and scheduler, which Pythae builds much later."""
    try:
        config = cls(**given)
        for part in ["", *(f"{part}_" for part in optimized_parts(cls))]:
            if getattr(config, f"{part}scheduler_cls", None) is not None:
                _try_scheduler(config, part)
    except Exception as error:  # Pythae and torch answer bad values with errors of many kinds.
        raise StudyError(f"{where}: {cls.__name__} refuses it: {one_line(error)}") from None
    return config


def _try_scheduler(config: Any, part: str) -> None:
    import torch

    def given(key: str) -> Any:
        return getattr(config, part + key)

    parameters = torch.nn.Linear(1, 1).parameters()
    optimizer = getattr(torch.optim, given("optimizer_cls"))(
        parameters, lr=given("learning_rate"), **(given("optimizer_params") or {})
    )
    made = getattr(torch.optim.lr_scheduler, given("scheduler_cls"))
    scheduler = made(optimizer, **(given("scheduler_params") or {}))
    optimizer.step()
    scheduler.step(
        *([0.0] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else [])
    )


def section_of(config: Any) -> dict[str, Any]:
    """A Pythae config as the JSON section it came from, defaults filled in."""
    section = json.loads(config.to_json_string())
    ordered = {"name": section.pop("name")}
    unread = OF_ONE_OPTIMIZER if optimized_parts(type(config)) else ()
    return ordered | {k: v for k, v in section.items() if k not in (*UNRECORDED, *unread)}


def is_variational(config: Any) -> bool:
    """Whether the model of this config draws its latent: its encoder gives a distribution."""
    from pythae.models import VAEConfig

    return isinstance(config, VAEConfig)


def spread_of(config: Any) -> str | None:
    """What a model's encoder gives beside `embedding`; None: nothing.

    `log_covariance`, one value for each latent dimension; or `log_concentration`, one for an
    image: how narrow a distribution on a sphere is, or a Riemannian normal in the Poincare ball.
    """
    one_value = (
        config.name == "SVAEConfig"
        or getattr(config, "posterior_distribution", None) == "riemannian_normal"
    )
    if one_value:
        return "log_concentration"
    return "log_covariance" if is_variational(config) else None
