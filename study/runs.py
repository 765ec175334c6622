"""Run files: read, overridden, checked, resolved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StudyError
from study.kinds import read_config
from study.overrides import apply_overrides
from study.pythae_json import TRAINER_OF, check_section, is_variational, section_of
from study.samplers import check_samplers
from study.schema import validate
from study.schema_files import RunConfig
from study.schema_training import ConvGrid

# Models that `engine.latent_noise` can be added to.
_NOISELESS = ("AEConfig", "WAE_MMD_Config")
# Models whose loss `engine` can change.
_CHANGED = ("VAEConfig", "BetaVAEConfig")
# Models whose loss holds a gradient of the decoder.
_TWICE_DERIVED = ("RAE_GP_Config", "RHVAEConfig")


@dataclass(frozen=True)
class Run:
    """A checked run. `model` and `trainer` are Pythae's config objects."""

    file: Path
    config: RunConfig
    model: Any
    trainer: Any

    @property
    def seed(self) -> int:
        """Seed of everything random in the run: `trainer.seed`."""
        return self.trainer.seed

    def resolved(self) -> dict[str, Any]:
        """The whole config as plain JSON, every default filled in: what `run.json` records."""
        config = self.config.model_dump(exclude={"schema_", "comment"})
        return config | {"model": section_of(self.model), "trainer": section_of(self.trainer)}

    def with_shape(self, shape: tuple[int, int, int]) -> "Run":
        """This run on images of C x H x W: the data's shape becomes `model.input_dim`."""
        given = self.model.input_dim
        if given is not None and tuple(given) != tuple(shape):
            raise StudyError(
                f"{self.file}: model.input_dim is {list(given)}, the images of "
                f"'{self.config.dataset}' are {list(shape)}; leave input_dim out"
            )
        section = section_of(self.model) | {"input_dim": list(shape)}
        model = check_section("model", section, f"{self.file}: model")
        return Run(self.file, self.config, model, self.trainer)


def load_run(file: Path, overrides: dict[str, Any] | None = None, seed: int | None = None) -> Run:
    """Read a run file, apply `overrides` (dotted key -> value) and then `seed`, check it all."""
    overrides = dict(overrides or {})
    if seed is not None:
        overrides["trainer.seed"] = seed
    raw = apply_overrides(read_config(file, "run"), overrides, str(file))
    return parse_run(raw, file)


def parse_run(raw: dict[str, Any], file: Path) -> Run:
    """Check a config that is already read; `file` is what errors name."""
    config = validate(RunConfig, raw, file)
    model = check_section("model", config.model, f"{file}: model")
    trainer = check_section("trainer", config.trainer, f"{file}: trainer")
    _check_model(config, model, file)
    _check_engine(config, model, file)
    check_samplers(model, config.evaluation.samplers, file)
    return Run(Path(file), config, model, trainer)


def _check_model(config: RunConfig, model: Any, file: Path) -> None:
    needed = TRAINER_OF.get(model.name, "BaseTrainerConfig")
    if config.trainer["name"] != needed:
        raise StudyError(
            f"{file}: trainer.name: a {model.name} is trained with {needed}, "
            f"not {config.trainer['name']}"
        )
    if isinstance(config.networks, ConvGrid) and model.name != "VQVAEConfig":
        raise StudyError(
            f"{file}: networks.name: {config.networks.name} makes a grid of latent vectors, which "
            f"only a VQVAEConfig takes; {config.networks.name.removesuffix('_grid')} makes one"
        )
    if model.name == "VAEGANConfig" and model.reconstruction_layer < 1:
        raise StudyError(
            f"{file}: model.reconstruction_layer: Pythae's default is the discriminator's score, "
            f"one number an image; name the layer whose features are compared (3 in the talk)"
        )

    if model.name == "HVAEConfig" and model.reconstruction_loss == "bce":
        raise StudyError(
            f"{file}: model.reconstruction_loss: Pythae's HVAE takes a decoder's output for logits "
            f"under bce, and the decoders here end in a Sigmoid; mse is meant"
        )
    if model.name == "PoincareVAEConfig" and model.latent_dim == 1:
        for key in ("prior_distribution", "posterior_distribution"):
            if getattr(model, key) == "riemannian_normal":
                raise StudyError(
                    f"{file}: model.{key}: a riemannian_normal needs a direction: a latent_dim of "
                    f"at least 2 is wanted, or wrapped_normal"
                )
    if model.name == "RAE_L2_Config":
        _check_weight_decay(config, model, file)


def _check_weight_decay(config: RunConfig, model: Any, file: Path) -> None:
    """RAE_L2's `reg_weight` becomes its decoder's weight decay: Pythae overwrites what is there."""
    given = config.trainer.get("decoder_optimizer_params") or {}
    if given.get("weight_decay", model.reg_weight) != model.reg_weight:
        raise StudyError(
            f"{file}: trainer.decoder_optimizer_params: Pythae puts model.reg_weight "
            f"({model.reg_weight}) in place of weight_decay; leave it out"
        )
    decayed = {"decoder_optimizer_params": {**given, "weight_decay": model.reg_weight}}
    check_section("trainer", config.trainer | decayed, f"{file}: trainer with model.reg_weight")


def _check_engine(config: RunConfig, model: Any, file: Path) -> None:
    if config.engine.latent_noise is not None and model.name not in _NOISELESS:
        own = "a noise of its own" if is_variational(model) else "no place for it"
        raise StudyError(
            f"{file}: engine.latent_noise: a {model.name} has {own}; "
            f"leave it out, or train an AE or a WAE_MMD"
        )
    for key in ("kl_warmup", "free_bits", "reduction", "sampled_std"):
        if getattr(config.engine, key) is not None and model.name not in _CHANGED:
            raise StudyError(
                f"{file}: engine.{key}: only a {' or a '.join(_CHANGED)} takes it, not {model.name}"
            )
    if config.engine.select != "loss" and config.trainer.get("keep_best_on_train"):
        raise StudyError(
            f"{file}: engine.select: {config.engine.select} is measured on the eval split, but "
            f"trainer.keep_best_on_train lets the training loss choose; leave one of the two out"
        )
    if config.engine.vaegan_gradients is not None and model.name != "VAEGANConfig":
        raise StudyError(
            f"{file}: engine.vaegan_gradients: only a VAEGANConfig has them, not {model.name}"
        )
    _check_execution(config, model, file)
    if config.engine.mmd_sigmas is not None and model.name != "WAE_MMD_Config":
        raise StudyError(
            f"{file}: engine.mmd_sigmas: only a WAE_MMD_Config has an MMD, not {model.name}"
        )
    if config.engine.mmd_sigmas is not None:
        defaults = section_of(type(model)())
        for key in ("kernel_choice", "kernel_bandwidth", "scales"):
            if config.model.get(key, defaults[key]) != defaults[key]:
                raise StudyError(
                    f"{file}: model.{key}: engine.mmd_sigmas replaces Pythae's kernels; "
                    f"leave one of the two out"
                )


def _check_execution(config: RunConfig, model: Any, file: Path) -> None:
    """What of precision, compile and deterministic cannot go together."""
    engine = config.engine
    if engine.precision == "bf16" and config.trainer.get("amp"):
        raise StudyError(
            f"{file}: trainer.amp: it runs the whole model in float16, engine.precision bf16 its "
            f"networks in bfloat16; leave one of the two out"
        )
    if engine.compile and model.name in _TWICE_DERIVED:
        raise StudyError(
            f"{file}: engine.compile: a {model.name} derives a gradient once more, which "
            f"torch.compile does not; leave it out"
        )
    if engine.compile and engine.deterministic:
        raise StudyError(
            f"{file}: engine.compile: on a GPU its kernels are chosen by timing them, so "
            f"engine.deterministic could not be kept; leave one of the two out"
        )
