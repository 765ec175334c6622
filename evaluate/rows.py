"""The rows and columns that a study's record has: what tables show and comparisons compare."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from evaluate.metric import Metric

# How a row is called after its sampler, where its model has several; else the sampler's title.
SAMPLERS = {
    "prior": "N(0, I)",
    "uniform": "uniform codes",
    "marginal": "codes of the empirical marginal",
    "gaussian": "Gaussian of the latents",
    "mixture": "Gaussian mixture of the latents",
    "maf": "MAF of the latents",
    "pixelcnn": "PixelCNN of the codes",
}
_SAID = tuple(field.name for field in fields(Metric) if field.name != "key")


def sampler_label(label: str, sampler: str, titles: dict[str, str]) -> str:
    """How a model's row is called in a table or figure of generations.

    `titles` says how each of its samplers draws: of a model with one, the label says it all.
    """
    return f"{label}, {SAMPLERS.get(sampler, titles[sampler])}" if len(titles) > 1 else label


@dataclass(frozen=True)
class Measured:
    """A row to be: a model, or one of its samplers.

    `entries` has for each seed what holds its `metrics`, None where it is missing; `seeds` which
    seeds they are.
    """

    name: str
    label: str
    sampler: str | None
    seeds: list[int | None]
    entries: list[dict[str, Any] | None]

    @property
    def key(self) -> str:
        """How comparisons name it: `vae`, or `vae/prior`."""
        return self.name if self.sampler is None else f"{self.name}/{self.sampler}"

    def of(self, column: Metric) -> tuple[dict[int, dict[str, Any]], str | None]:
        """What each measured seed (by its place) has in a column, and why another has nothing."""
        found, reason = {}, None
        for place, entry in enumerate(self.entries):
            if entry is None:
                continue
            about = entry["metrics"].get(column.key)
            if about and (about["title"], about["settings"]) == (column.title, column.settings):
                found[place] = about
            elif about:
                reason = reason or f"{about['title']} was asked for"
            elif column.key in (entry.get("missing") or {}):
                reason = reason or entry["missing"][column.key]
        return found, reason


def reconstructed(rows: Iterable[dict[str, Any]]) -> list[Measured]:
    """A row of a record for each model."""
    made = []
    for row in rows:
        cells = row["cells"]
        entries = [cell if cell["metrics"] is not None else None for cell in cells]
        seeds = [cell.get("seed") for cell in cells]
        made.append(Measured(row.get("name", row["label"]), row["label"], None, seeds, entries))
    return made


def generated(rows: Iterable[dict[str, Any]]) -> list[Measured]:
    """A row for each sampler of a model, named after it where the model has several."""
    made = []
    for row in rows:
        name, seeds = row.get("name", row["label"]), [cell.get("seed") for cell in row["cells"]]
        by_seed = [cell.get("generations") or {} for cell in row["cells"]]
        titles = {key: entry["title"] for seed in by_seed for key, entry in seed.items()}
        for key in titles:
            entries = [seed.get(key) for seed in by_seed]
            label = sampler_label(row["label"], key, titles)
            made.append(Measured(name, label, key, seeds, entries))
        if not titles:
            made.append(Measured(name, row["label"], None, seeds, [None] * len(by_seed)))
    return made


def columns(rows: list[Measured], keys: Iterable[str]) -> list[Metric]:
    """The metrics in order; one of two settings in one study (an ELBO, say) is two columns.

    One that was wanted and could be measured nowhere is a column without a definition.
    """
    found = [entry for row in rows for entry in row.entries if entry]
    made: list[Metric] = []
    for key in keys:
        own: dict[str, Metric] = {}
        for entry in found:
            if about := entry["metrics"].get(key):
                said = {name: about[name] for name in _SAID if name in about}
                own.setdefault(f"{about['title']} {about['settings']}", Metric(key=key, **said))
        if not own and any(key in (entry.get("missing") or {}) for entry in found):
            own = {key: Metric(key, key, None, "", "")}
        made += own.values()
    return made
