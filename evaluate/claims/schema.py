"""`results/reference/<study>.json`: what a source says, as data. Strict like a study's file.

Claims are in our own words; numbers are the source's. What the source's own code did otherwise
stands in `notes`, and in a claim's `as_published` where it changes the meaning of a number.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from study.errors import StudyError
from study.jsonfile import read_json_object
from study.schema import Count, Name, SamplerName, Section, Split, Text, validate

Basis = Literal["stated", "computed"]
# A source that says "evaluation images" without naming a split.
SourceSplit = Split | Literal["held out"]
# How samples were drawn; None: reconstructions; several: the source does not say which of them.
Sampled = SamplerName | Annotated[list[SamplerName], Field(min_length=2)] | None
# Metric key -> setting -> value, of what the source measured with.
MetricSettings = dict[Text, dict[str, Any]]


def _wrong(message: LiteralString) -> PydanticCustomError:
    """An error of a whole section; of a ValueError pydantic would print the kind, too."""
    return PydanticCustomError("claim", message)


class Measured(Section):
    """What the source trained and measured on; null where it is not known."""

    split: SourceSplit | None
    images: Count | None
    image_size: Count | None
    training_images: Count | None
    epochs: Count | None


class SourceRow(Section):
    """A model of the source, under the name of the study's row that re-runs it."""

    label: Text
    # In place of `measured.epochs`, where models were trained for different times.
    epochs: Count | None = None
    # Config key -> value: sizes of networks and weights of losses that make it this model.
    settings: dict[str, Any] = Field(default_factory=dict)
    # Of `epochs` and `settings`.
    basis: Basis = "stated"


class _Claim(Section):
    # Of the claim in its file: part of the format, since verdicts are compared by it.
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=80)]
    text: Annotated[str, Field(min_length=1, pattern=r"^[^\n]+$")]
    # Where in the source it stands.
    place: Text
    # In the source's words or tables, or by its code.
    basis: Basis
    # The claim of this file that says the opposite, where a source contradicts itself.
    contradicts: str | None = None


class _Measurable(_Claim):
    """A claim on a metric of the study's rows."""

    sampler: Sampled
    metric: Text
    # The key of the same number as the source's code computed it, if otherwise.
    as_published: Text | None = None
    # In place of the source's own `settings`, of the metrics that are named here.
    settings: MetricSettings = Field(default_factory=dict)


class Point(Section):
    """A row of the study; with a sampler its samples, without one its reconstructions."""

    row: Name
    sampler: Sampled = None
    # In place of the claim's, for a row whose number is the same both ways (a VQ-VAE draws no z).
    as_published: Text | None = None


class Value(_Measurable):
    """A number. `decimals` says how it was rounded; or `low` and `high`, where a range is given."""

    kind: Literal["value"]
    row: Name
    number: float | None = None
    decimals: Annotated[int, Field(ge=0, le=9)] | None = None
    # The source says "about": a whole unit of its last decimal in place of half a one.
    approx: bool = False
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Value":
        rounded = self.number is not None and self.decimals is not None
        ranged = self.low is not None and self.high is not None
        given = [v for v in (self.number, self.decimals, self.low, self.high) if v is not None]
        if rounded == ranged or len(given) != 2:
            raise _wrong("either number and decimals, or low and high, are wanted")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise _wrong("low is above high")
        return self

    @property
    def within(self) -> tuple[float, float]:
        """The range of true values that the source's number leaves open, both ends included."""
        if self.number is None or self.decimals is None:
            assert self.low is not None and self.high is not None
            return self.low, self.high
        unit = 10.0**-self.decimals
        reach = unit if self.approx else unit / 2
        return self.number - reach, self.number + reach


class Trend(_Measurable):
    """A metric over rows in the order given (β from small to large)."""

    kind: Literal["trend"]
    rows: Annotated[list[Name], Field(min_length=2)]
    direction: Literal["rises", "falls"]


class Order(_Measurable):
    """One row is better in a metric than every one of some others."""

    kind: Literal["order"]
    row: Name
    than: Annotated[list[Point], Field(min_length=1)]
    # Which end is the claimed one: not every metric has a better one.
    direction: Literal["lower", "higher"]


class Ratio(Section):
    """What a number is divided by before it is compared; a key left out is the claim's own."""

    row: Name | None = None
    metric: Text | None = None
    as_published: Text | None = None
    # Then multiplied by: pixels an image, where one is a mean and the other a sum.
    scale: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _another(self) -> "Ratio":
        if self.row is None and self.metric is None:
            raise _wrong("a row or a metric is wanted: a number over itself says nothing")
        return self


class Exists(_Measurable):
    """A metric of a row, or a ratio, below or above a number, or between two."""

    kind: Literal["exists"]
    row: Name
    over: Ratio | None = None
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "Exists":
        if self.below is None and self.above is None:
            raise _wrong("below or above is wanted")
        return self


class Figure(_Claim):
    """A figure of the source; ours is drawn beside it, for people to judge."""

    kind: Literal["figure"]
    # The study's figure of the same: the name its files go by.
    figure: Name
    # The rows that it has to show.
    rows: list[Name] = Field(default_factory=list)


class Word(_Claim):
    """What no measure of this version decides; `open` says what measure or run is missing."""

    kind: Literal["word"]
    open: Text


Measurable = Value | Trend | Order | Exists
Claim = Annotated[Measurable | Figure | Word, Field(discriminator="kind")]


class Reference(Section):
    """One study's claims."""

    study: Name
    source: Text
    measured: Measured
    # The study's budget whose runs are nearest to the source's; None: the study as it stands.
    nearest_budget: Name | None = None
    # By the name of the study's row.
    rows: dict[Name, SourceRow]
    # Where another setting makes another number: LPIPS' backbone, the distance of coverage@t.
    settings: MetricSettings = Field(default_factory=dict)
    claims: Annotated[list[Claim], Field(min_length=1)]
    # What the source's own code did otherwise, and what it says that is no claim.
    notes: list[Text] = Field(default_factory=list)


def check_reference(reference: Reference, where: Path | str) -> Reference:
    """The same; StudyError where claims share an id, or name a claim or a row that is not there,
    or settings are of a metric that no claim is on."""
    ids = [claim.id for claim in reference.claims]
    for key in set(reference.settings).difference(*map(metrics_of, reference.claims)):
        raise StudyError(f"{where}: settings: no claim is on '{key}'")
    for claim in reference.claims:
        at = f"{where}: claims: '{claim.id}'"
        if ids.count(claim.id) > 1:
            raise StudyError(f"{at}: two have this id; rename one")
        if claim.contradicts is not None and claim.contradicts not in ids:
            raise StudyError(f"{at}: contradicts: no claim has the id '{claim.contradicts}'")
        for key in set(getattr(claim, "settings", {})) - metrics_of(claim):
            raise StudyError(f"{at}: settings: the claim is not on '{key}'")
        for row in rows_of(claim):
            if row not in reference.rows:
                known = ", ".join(reference.rows) or "none"
                raise StudyError(f"{at}: '{row}' is not among rows ({known})")
    return reference


def metrics_of(claim: Measurable | Figure | Word) -> set[str]:
    """Every key of a metric that a claim names."""
    if isinstance(claim, Figure | Word):
        return set()
    keys = [claim.metric, claim.as_published]
    if isinstance(claim, Order):
        keys += [point.as_published for point in claim.than]
    if isinstance(claim, Exists) and claim.over:
        keys += [claim.over.metric, claim.over.as_published]
    return {key for key in keys if key is not None}


def unsaid_samplers(claim: Measurable) -> list[str]:
    """Those that a source may have drawn with, where it does not say; none where it does."""
    named = [claim.sampler]
    if isinstance(claim, Order):
        named += [point.sampler for point in claim.than]
    return list(dict.fromkeys(name for of in named if isinstance(of, list) for name in of))


def rows_of(claim: Measurable | Figure | Word) -> list[str]:
    """The study's rows that a claim is about, each once."""
    if isinstance(claim, Word):
        return []
    rows = list(claim.rows) if isinstance(claim, Trend | Figure) else [claim.row]
    if isinstance(claim, Order):
        rows += [point.row for point in claim.than]
    if isinstance(claim, Exists) and claim.over and claim.over.row:
        rows.append(claim.over.row)
    return list(dict.fromkeys(rows))


def read_reference(path: Path) -> Reference:
    """Read and check one; StudyError names the file and the key's path."""
    reference = check_reference(validate(Reference, read_json_object(path), path), path)
    if reference.study != path.stem:
        raise StudyError(f"{path}: study: '{reference.study}' is wanted to be '{path.stem}'")
    return reference


def reference_path(folder: Path, record: dict[str, Any]) -> Path:
    """Where the claims on a record's study are: those of `celeba64-small` are `celeba64`'s."""
    name, budget = record["study"], record.get("budget")
    return folder / f"{name.removesuffix(f'-{budget}') if budget else name}.json"
