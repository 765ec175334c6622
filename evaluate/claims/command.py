"""A study's command: what it cuts, the same uncut, and the one nearest to the source."""

import itertools
import shlex

# Keys of a run's config, and sections of it, that change what is trained, on what or how long.
_TRAINED = ("dataset", "data", "networks", "model", "trainer")
_OF_ENGINE = (
    *("select", "kl_warmup", "free_bits", "reduction", "sampled_std"),
    *("latent_noise", "mmd_sigmas", "vaegan_gradients"),
)


def changes(command: str) -> list[str]:
    """What a study's command sets otherwise (`--set`) of what is trained, on what or how long."""
    words = shlex.split(command)
    texts = [after for before, after in itertools.pairwise(words) if before == "--set"]
    texts += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return [text for text in texts if _trains(text)]


def _trains(text: str) -> bool:
    first, *rest = text.partition("=")[0].strip().split(".")
    return first in _TRAINED or (first == "engine" and "".join(rest[:1]) in _OF_ENGINE)


def uncut(command: str) -> str:
    """The command of the study as it stands in its file."""
    words, dropped = shlex.split(command), set(changes(command))
    kept: list[str] = []
    at = 0
    while at < len(words):
        word, value = words[at], words[at + 1] if at + 1 < len(words) else ""
        if word == "--budget" or (word == "--set" and value in dropped):
            at += 2
            continue
        if not word.startswith("--budget=") and word.removeprefix("--set=") not in dropped:
            kept.append(word)
        at += 1
    return shlex.join(kept)


def nearest(command: str, budget: str | None) -> str:
    """The command of the study as it stands in its file, or with the budget of it that is nearer
    to the source."""
    full = uncut(command)
    return f"{full} {shlex.join(['--budget', budget])}" if budget else full
