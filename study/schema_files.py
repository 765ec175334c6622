"""What a run file and a study file may hold."""

from typing import Annotated, Any, Literal

from pydantic import Field

from study.cli import MAX_SEED
from study.schema import (
    DEFAULT_FIGURES,
    Evaluation,
    Name,
    Section,
    Split,
    StudyFigure,
    StudyTable,
    Text,
)
from study.schema_training import Engine, Networks

Seeds = Annotated[list[Annotated[int, Field(ge=0, le=MAX_SEED)]], Field(min_length=1)]
Project = Annotated[str, Field(pattern=r"^[^/\\#?%:\r\n]+$", max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class Tracking(Section):
    """Weights & Biases, the mirror of `history.jsonl`; no part of what makes a run this run.

    The environment's `WANDB_MODE` (online, offline, disabled) overrules `mode`.
    """

    mode: Literal["off", "offline", "online"] = "off"
    # Without it the study's name, or the data set's.
    project: Project | None = None
    # For evaluation and tables; without it `project`.
    evaluation_project: Project | None = None
    entity: Text | None = None
    # Without it the study's name, its budget included.
    group: Text | None = None
    # Without it `<study>/<run>/seed-<n>`, or the run directory's name.
    name: Text | None = None
    tags: list[Tag] = []
    notes: str | None = None


class RunConfig(Section):
    """One run. `model` and `trainer` are Pythae's own JSON (`study.pythae_json` checks them)."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    # What it costs and what it should give, for people.
    comment: str | None = None
    dataset: Name
    networks: Networks
    model: dict[str, Any]
    trainer: dict[str, Any]
    engine: Engine = Engine()
    evaluation: Evaluation = Evaluation()
    tracking: Tracking = Tracking()


class StudyData(Section):
    """What `python -m data_prep DATASET` is to prepare; `options` are its options."""

    dataset: Literal["shapes", "mnist", "fashion_mnist", "celeba", "folder"]
    options: dict[str, Any] = {}
    # The folder under data/; None: the data set's own name, e.g. celeba64.
    name: Name | None = None


class StudyRun(Section):
    """One row, or one for each point of `grid` (config key -> values)."""

    name: Name
    config: str
    # Shown in tables; {model.beta} stands for that key of the run's config.
    label: str
    set: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    # In place of the study's and of a budget's; for a row that is there for its pictures.
    seeds: Seeds | None = None


class Budget(Section):
    """A smaller or larger way through the same study: what it changes."""

    cost: str
    # Names of the study's rows (`beta_vae-beta4.0`) that it has; None: all.
    rows: Annotated[list[str], Field(min_length=1)] | None = None
    set: dict[str, Any] = {}
    # Name of a run -> what is set in it alone.
    run_set: dict[Name, dict[str, Any]] = {}
    seeds: Seeds | None = None
    data: StudyData | None = None
    split: Split | None = None


class StudyConfig(Section):
    """Runs x grid x seeds on one data set, and the tables and figures made of them."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    name: Name
    title: str
    # Whose comparison it re-runs.
    source: str
    cost: str
    data: StudyData
    # The split that the tables stand on.
    split: Split
    set: dict[str, Any] = {}
    runs: Annotated[list[StudyRun], Field(min_length=1)]
    seeds: Seeds
    tables: Annotated[list[StudyTable], Field(min_length=1)]
    figures: list[StudyFigure] = list(DEFAULT_FIGURES)
    budgets: dict[Name, Budget] = {}
    # Goes over that of the run files, key by key.
    tracking: Tracking = Tracking()
