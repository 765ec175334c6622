"""Cluster files, `configs/clusters/<cluster>.json`: what one site's SLURM wants to be told.

Keys are sbatch's own long options, with `_` for `-`; what submits jobs turns them into options.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from study.kinds import read_config
from study.schema import Count, Section, validate


def _text(pattern: str, wanted: str) -> Any:
    """The type of a text that is `pattern` from end to end; its error says what is `wanted`."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value):
            return value
        raise PydanticCustomError("format", "{wanted} is wanted", {"wanted": wanted})

    shown = Field(json_schema_extra={"pattern": f"^(?:{pattern})$"})
    return Annotated[str, AfterValidator(check), shown]


Word = _text(r"[^\s-]\S*", "one word, as sbatch takes it,")
# sbatch also takes a bare number, which is minutes, and takes 0 for no limit at all.
Time = _text(
    r"(?!(?:0+-)?0+:00:00)(?:[0-9]+-(?:[01][0-9]|2[0-3])|[0-9]{1,4}):[0-5][0-9]:[0-5][0-9]",
    "a time limit such as 36:00:00 or 1-12:00:00 (days-hours:minutes:seconds)",
)
Memory = _text(r"[1-9][0-9]*[KMGT]", "an amount with its unit, such as 16G,")
Line = _text(r"[^\n\r]*\S[^\n\r]*", "one line of shell")
Folder = _text(
    r"(?:/|\$[A-Za-z_{])[^\n\r]*", "an absolute path, or one that begins with a variable, $SCRATCH,"
)
# Keys of ours, and what only the one that submits can know.
_TAKEN = (
    "partition|account|qos|gres|constraint|cpus-per-task|mem|time"
    "|array|dependency|job-name|chdir|output|error|wrap|parsable|test-only"
)
Option = _text(
    rf"--(?!(?:{_TAKEN})(?:=|$))[a-z][a-z-]*(?:=\S.*)?",
    "an option such as --mail-type=END, and none that has a key here or that is set by what "
    "submits (array, dependency, output and the like),",
)


class Resources(Section):
    """What a job asks for."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    # Such as gpu:1 or gpu:a100:1.
    gres: Word | None = None
    # Features that a node must have, such as a100|h100.
    constraint: Word | None = None
    cpus_per_task: Count | None = None
    # Of a node, with its unit: 16G.
    mem: Memory | None = None
    # Any further options of sbatch, in full: --mail-type=END.
    options: list[Option] = Field(default=[])


class StageResources(Resources):
    """What the jobs of one stage ask for beyond that, or (null: not at all) in its place."""

    # Time limit of one job, days-hours:minutes:seconds.
    time: Time


class Stages(Section):
    """The stages of `reproduce.py`; training and evaluation are one job a run."""

    data: StageResources
    train: StageResources
    evaluate: StageResources
    tables: StageResources


class ClusterConfig(Section):
    """One site."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    # For people: whose cluster, where its documentation is.
    comment: str | None = None
    # What every job loads with `module load`, in this order.
    modules: list[Word] = Field(default=[])
    # Lines of shell that every job runs after that, such as the activation of an environment.
    setup: list[Line] = Field(default=[])
    # Large and fast storage for data and runs; variables are filled in on the cluster. None: the
    # checkout itself.
    scratch: Folder | None = None
    # What all jobs ask for.
    sbatch: Resources = Resources()
    stages: Stages

    def resources(self, stage: str) -> StageResources:
        """What a job of `stage` asks for: the stage's own words over those of all jobs."""
        own: StageResources = getattr(self.stages, stage)
        merged = self.sbatch.model_dump(exclude_unset=True) | own.model_dump(exclude_unset=True)
        return StageResources(**merged | {"options": [*self.sbatch.options, *own.options]})


def load_cluster(file: Path) -> ClusterConfig:
    """Read and check a cluster file; StudyError names file, key and what would be right."""
    return validate(ClusterConfig, read_config(file, "cluster"), file)
