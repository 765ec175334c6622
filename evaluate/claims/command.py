"""A study's command: what it cuts, the same uncut, and the one nearest to the source."""

import itertools
import shlex

# Keys of a run's config, and sections of it, that change what is trained, on what or how long.
_TRAINED = ("dataset", "data", "networks", "model", "trainer")
_OF_ENGINE = (
    *("select", "kl_warmup", "free_bits", "reduction", "sampled_std"),
    *("latent_noise", "mmd_sigmas", "vaegan_gradients"),
)


def settings(command: str) -> list[str]:
    """What a study's command sets otherwise than its file (`--set`), as records write commands:
    an option and its value are two words."""
    words = shlex.split(command)
    return [after for before, after in itertools.pairwise(words) if before == "--set"]


def changes(command: str) -> list[str]:
    """Those of its settings that change what is trained, on what or how long."""
    return [text for text in settings(command) if _trains(text)]


def _trains(text: str) -> bool:
    first, *rest = text.partition("=")[0].strip().split(".")
    return first in _TRAINED or (first == "engine" and "".join(rest[:1]) in _OF_ENGINE)


def uncut(command: str) -> str:
    """The command of the study as it stands in its file."""
    words, dropped = iter(shlex.split(command)), changes(command)
    kept: list[str] = []
    for word in words:
        if word == "--budget":
            next(words, None)
        elif word != "--set":
            kept.append(word)
        elif (value := next(words, "")) not in dropped:
            kept += [word, value]
    return shlex.join(kept)


def nearest(command: str, budget: str | None) -> str:
    """The command of the study as it stands in its file, or with the budget of it that is nearer
    to the source."""
    full = uncut(command)
    return f"{full} {shlex.join(['--budget', budget])}" if budget else full
