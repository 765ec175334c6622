"""Which ways of drawing samples a model has: `evaluation.samplers`."""

from collections.abc import Sequence
from typing import Any

from study.errors import StudyError

# Of flat latents, and of the codes of a codebook.
_LATENTS = ("prior", "gaussian", "mixture", "maf")
_CODES = ("uniform", "marginal", "pixelcnn")

# By the names of Pythae's config classes (a class that is not here is of the nearest above it):
# why nothing can be fitted to its latents.
_ONLY_ITS_PRIOR = {
    "SVAEConfig": "its latents lie on a sphere, and what is fitted knows flat space alone",
    "PoincareVAEConfig": "its latents lie in a ball of hyperbolic space, and what is fitted knows "
    "flat space alone",
    "HVAEConfig": "its posterior is what Hamiltonian steps make of a Gaussian, and evaluation does "
    "not draw from it",
    "RHVAEConfig": "its posterior is what Hamiltonian steps make of a Gaussian, and evaluation "
    "does not draw from it",
}


def samplers_of(model: Any) -> tuple[str, ...]:
    """Keys of the samplers that a model of this Pythae config has."""
    names = [cls.__name__ for cls in type(model).__mro__]
    if "VQVAEConfig" in names:
        return _CODES
    if any(name in _ONLY_ITS_PRIOR for name in names):
        return ("prior",)
    # A masked network has nothing to mask in one dimension.
    return _LATENTS[:-1] if model.latent_dim == 1 else _LATENTS


def check_samplers(model: Any, asked: Sequence[str] | None, where: object) -> None:
    """StudyError, beginning with `where`, if a model of this Pythae config lacks a sampler asked.

    None, the defaults, is always right.
    """
    known = samplers_of(model)
    for position, key in enumerate(asked or ()):
        at = f"{where}: evaluation.samplers[{position}]"
        if key in asked[:position]:
            raise StudyError(f"{at}: '{key}' stands there twice; once is meant")
        if key not in known:
            raise StudyError(
                f"{at}: a {type(model).__name__} has no '{key}': {_why(model, key)}; "
                f"known here: {', '.join(known)}"
            )


def _why(model: Any, key: str) -> str:
    known = samplers_of(model)
    if key in _CODES:
        return "it has no codebook"
    if known == _CODES:
        return "its latents are codes"
    for cls in type(model).__mro__:
        if cls.__name__ in _ONLY_ITS_PRIOR:
            return _ONLY_ITS_PRIOR[cls.__name__]
    return "the flow needs a latent_dim of at least 2"
