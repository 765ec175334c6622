"""What collapsed: models whose numbers say that they learned next to nothing of the data.

Each sign is worked out from a study's record and stands on its page, so that a failed model is
called one and is not lost in a column.
"""

from collections.abc import Callable
from typing import Any

# Below these: a reconstruction is hardly more than the mean image; the posterior is the prior for
# nearly all images (β = 30 on MNIST gives 0.01 nats, where β = 1 has 20); one code does for
# everything; samples are all one image.
EXPLAINED = 0.1
KL_NATS = 0.1
PERPLEXITY = 2.0
DIVERSITY = 0.1

Sign = Callable[[dict[str, Any]], str | None]


def _mean(entry: dict[str, Any], key: str) -> float | None:
    about = entry["metrics"].get(key)
    return about["mean"] if about else None


def _mean_image(cell: dict[str, Any]) -> str | None:
    mse, baseline = _mean(cell, "MSE"), cell.get("mean_image_mse")
    if mse is None or not baseline or (explained := 1 - mse / baseline) >= EXPLAINED:
        return None
    return (
        f"its reconstructions explain {max(0.0, explained):.1%} of the pixels' variance (less than "
        f"{EXPLAINED:.0%}): an MSE of {mse:.4g}, where the split's mean image alone has "
        f"{baseline:.4g}"
    )


def _posterior(cell: dict[str, Any]) -> str | None:
    kl = _mean(cell, "KL")
    if kl is None or kl >= KL_NATS:
        return None
    return f"posterior collapse: its KL is {kl:.2g} nats an image (less than {KL_NATS:g})"


def _codebook(cell: dict[str, Any]) -> str | None:
    perplexity = _mean(cell, "perplexity")
    if perplexity is None or perplexity >= PERPLEXITY:
        return None
    return f"codebook collapse: a perplexity of {perplexity:.3g} codes (less than {PERPLEXITY:g})"


def _samples(cell: dict[str, Any]) -> str | None:
    for made in (cell.get("generations") or {}).values():
        diversity = _mean(made, "diversity")
        if diversity is not None and diversity < DIVERSITY:
            return (
                f"its samples ({made['title']}) hardly differ: a diversity of {diversity:.2g} "
                f"where the data's is 1 (less than {DIVERSITY:g})"
            )
    return None


SIGNS: tuple[Sign, ...] = (_mean_image, _posterior, _codebook, _samples)


def collapses(record: dict[str, Any]) -> list[str]:
    """One line for each sign of collapse in a row of a study's record.

    With several seeds the numbers are those of the first that shows it, and the line says how many
    do.
    """
    lines = []
    for row in record["rows"]:
        cells = [cell for cell in row["cells"] if cell["metrics"] is not None]
        for sign in SIGNS:
            found = [told for told in map(sign, cells) if told]
            if found:
                seeds = f", in {len(found)} of {len(cells)} seeds" if len(cells) > 1 else ""
                lines.append(f"{row['label']}: {found[0]}{seeds}.")
    return lines
