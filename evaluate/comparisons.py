"""Which row of a study is best in each metric, and which others cannot be told from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.metric import Metric, as_published
from evaluate.rows import Measured, columns, generated, reconstructed
from evaluate.statistics import DRAWS, holm, paired_bootstrap, welch
from study.npz import member_names, open_array

# Rows whose p against the best is at least this are not distinguishable from it.
ALPHA = 0.05
# How the key of what a source printed and computed otherwise ends.
AS_PUBLISHED = as_published("").strip()
BOOTSTRAP, WELCH = "paired bootstrap", "Welch"
PerImage = Mapping[tuple[str, int], Path]


def compare(record: dict[str, Any], per_image: PerImage) -> list[dict[str, Any]]:
    """A comparison for each metric that has a better end and can be tested, of reconstructions
    and of generations (where every sampler of every model is a row).

    `per_image` says by row name and seed where its `per_image.npz` lies; a metric's arrays are
    read when it is its turn, and let go after. Each comparison has `best`, the row whose mean over
    seeds is best, and for every other row that it could be held against its `p`: paired bootstrap
    of per-image values, Welch's test over seeds for numbers of a whole split. Holm's correction is
    over all pairs of rows, not those with the best alone: the best is the best by these very
    numbers, and of seven equal models some one would be called worse in 14 of 100 cases (6 as it
    is). Not compared are reference rows, and columns as published: the talk's BCE is summed over
    an image for one model and averaged over its pixels for the next.
    """
    made = []
    for of, kind in (("reconstruction", reconstructed), ("generation", generated)):
        rows = kind(record["rows"])
        keys = dict.fromkeys(
            key for row in rows for entry in row.entries if entry for key in entry["metrics"]
        )
        for column in columns(rows, keys):
            if column.better is None or column.key.endswith(AS_PUBLISHED):
                continue
            compared = _compare(column, rows, per_image, record["split"])
            if compared:
                about = {"of": of, "key": column.key, "title": column.title}
                made.append(about | {"settings": column.settings} | compared)
    return made


def find(comparisons: list[dict[str, Any]], of: str, column: Metric) -> dict[str, Any] | None:
    """The comparison of a table's column; None where there is none."""
    wanted = of, column.key, column.title, column.settings
    for made in comparisons:
        if (made["of"], made["key"], made["title"], made["settings"]) == wanted:
            return made
    return None


def _compare(
    column: Metric, rows: list[Measured], per_image: PerImage, split: str
) -> dict[str, Any] | None:
    found = {}
    for number, row in enumerate(rows):
        abouts, reason = row.of(column)
        if abouts and reason is None:
            found[number] = abouts
    if len(found) < 2:
        return None
    means = {n: float(np.mean([a["mean"] for a in abouts.values()])) for n, abouts in found.items()}
    sign = 1 if column.better == "lower" else -1
    best = min(means, key=lambda number: sign * means[number])
    if column.over != "images":
        test, compared = WELCH, list(found)
        p = welch([[about["mean"] for about in abouts.values()] for abouts in found.values()])
    else:
        test = BOOTSTRAP
        values = {
            n: _values(rows[n], abouts, column, per_image, split) for n, abouts in found.items()
        }
        if values[best] is None:
            return None
        # Those that were measured on other images stand beside the best, but not against it.
        images = values[best].shape[1]
        compared = [n for n, of in values.items() if of is not None and of.shape[1] == images]
        # Enough draws for the smallest p to stay one after the correction over all pairs.
        pairs = len(compared) * (len(compared) - 1) // 2
        p = paired_bootstrap([values[n] for n in compared], max(DRAWS, 40 * pairs))
    against = _corrected(p)[compared.index(best)]
    by_row = {
        rows[number].key: float(f"{of:.4g}")
        for number, of in zip(compared, against, strict=True)
        if number != best and np.isfinite(of)
    }
    return {"test": test, "best": rows[best].key, "p": by_row} if by_row else None


def _corrected(p: np.ndarray) -> np.ndarray:
    """R x R p-values after Holm's correction over all pairs that were tested."""
    corrected = np.full_like(p, np.nan)
    first, second = np.triu_indices(len(p), 1)
    tested = np.isfinite(p[first, second])
    first, second = first[tested], second[tested]
    corrected[first, second] = corrected[second, first] = holm(p[first, second])
    return corrected


def _values(
    row: Measured,
    abouts: dict[int, dict[str, Any]],
    column: Metric,
    per_image: PerImage,
    split: str,
) -> np.ndarray | None:
    """Per-image values of a row, S x n; None where they are not there, or of other images."""
    prefix = split if row.sampler is None else f"{split}.generations.{row.sampler}"
    name = f"{prefix}.{column.key}"
    made = []
    for place in abouts:
        file = per_image[row.name, row.seeds[place] or 0]
        if not file.is_file() or name not in member_names(file):
            return None
        made.append(np.asarray(open_array(file, name), np.float64))
    return np.stack(made) if len({len(of) for of in made}) == 1 else None
