"""Cluster files, `configs/clusters/<cluster>.json`: what one site's SLURM wants to be told.

Keys are sbatch's own long options, with `_` for `-`; `slurm.submit` turns them into options.
Nothing of such a file is ever run by a shell: what is no plain word is refused, or handed over as
it stands.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator
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


# What a shell would see more in than a letter.
_LITERAL = r"[^\s'\"$`\\\x00]"
Word = _text(
    rf"(?!-){_LITERAL}+",
    "one word, as sbatch takes it, without spaces, quotes, $ or backslashes,",
)
Module = _text(
    r"[A-Za-z0-9_][A-Za-z0-9_.+/@:=-]*", "a module's name as 'module load' takes it, python/3.11,"
)
# sbatch also takes a bare number, which is minutes, and takes 0 for no limit at all.
Time = _text(
    r"(?!(?:0+-)?0+:00:00)(?:[0-9]+-(?:[01][0-9]|2[0-3])|[0-9]{1,4}):[0-5][0-9]:[0-5][0-9]",
    "a time limit such as 36:00:00 or 1-12:00:00 (days-hours:minutes:seconds)",
)
Memory = _text(r"[1-9][0-9]*[KMGT]", "an amount with its unit, such as 16G,")
# A name or a folder; it reaches `conda activate` and a command's place as one argument.
Conda = _text(
    r"(?!-)[^\s'\"$`\\\x00]+", "a conda environment's name or folder, without spaces, quotes or $,"
)
Folder = _text(
    r"(?!-)[^$\n\r\x00]+", "a folder as it is, in one line (variables are not filled in),"
)
Value = _text(
    r"[^$`\n\r\x00]*",
    "a value as it is, in one line without $ or ` (variables are not filled in: write it out)",
)
Variable = _text(
    r"(?!SLURM_|SBATCH_|VAE_STUDY_|LD_|BASH_|PATH$)[A-Za-z_][A-Za-z0-9_]*",
    "the name of a variable such as WANDB_MODE, none of SLURM's, the shell's or ours,",
)
# Keys of ours, and what only the one that submits can know.
_TAKEN = (
    *("partition", "account", "qos", "gres", "constraint", "cpus-per-task", "mem", "time"),
    *("array", "dependency", "job-name", "chdir", "output", "error", "wrap", "parsable", "wait"),
    *("test-only", "signal", "requeue", "no-requeue", "open-mode", "export", "export-file"),
    *("kill-on-invalid-dep", "clusters", "uid", "gid", "help", "usage", "version"),
)


def _beginnings(word: str) -> str:
    """A pattern of all that getopt takes for `word`: o, ou, out, ..., output."""
    return word[0] + (f"(?:{_beginnings(word[1:])})?" if word[1:] else "")


Option = _text(
    rf"--(?!(?:{'|'.join(map(_beginnings, _TAKEN))})(?:=|$))"
    r"[a-z][a-z-]*(?:=[^\s\x00][^\n\r\x00]*)?",
    "an option such as --mail-type=END, in full, and none that has a key here or that is set by "
    "what submits (array, dependency, output and the like),",
)


class Resources(Section):
    """What a job asks for. None: nothing, so that the site's default holds."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    # Such as gpu:1 or gpu:a100:1; null is no GPU at all.
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

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = (int(part) for part in clock.split(":"))
        return ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds


class Stages(Section):
    """The kinds of job: a study's data, one of its runs (trained and evaluated), its tables."""

    data: StageResources
    run: StageResources
    tables: StageResources


class Environment(Section):
    """Where the Python of a job is; one of the two."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    # A virtual environment's folder, from the root of the checkout; what `make setup` made.
    venv: Folder | None = None
    # What `conda activate` takes; `conda` must be there once the modules are loaded.
    conda: Conda | None = None

    @model_validator(mode="after")
    def _one(self) -> "Environment":
        if (self.venv is None) == (self.conda is None):
            raise PydanticCustomError("one", "one of 'venv' and 'conda' is wanted")
        return self


class ClusterConfig(Section):
    """One site."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    # For people: whose cluster, where its documentation is.
    comment: str | None = None
    # What every job loads with `module load`, in this order.
    modules: list[Module] = Field(default=[])
    environment: Environment = Environment(venv=".venv")
    # What every job has in its environment, such as WANDB_MODE; values as they stand.
    variables: dict[Variable, Value] = Field(default={})
    # How many runs of a study may be at work at once; null: as many as SLURM lets.
    max_parallel: Count | None = None
    # After so many restarts, SLURM's own included, a stopped job does not requeue itself any more.
    max_requeues: Annotated[int, Field(ge=0)] = 20
    # Seconds before the time limit at which a run is told to write its checkpoint.
    warning: Count = 300
    # What all jobs ask for.
    sbatch: Resources = Resources()
    stages: Stages

    @model_validator(mode="after")
    def _warned_in_time(self) -> "ClusterConfig":
        for stage in ("run", "tables"):
            if getattr(self.stages, stage).seconds <= self.warning:
                raise PydanticCustomError(
                    "warning",
                    "the time limit of stages.{stage} is not longer than 'warning', the "
                    "{seconds} seconds that its checkpoint is written before it",
                    {"stage": stage, "seconds": self.warning},
                )
        return self

    def resources(self, stage: str) -> StageResources:
        """What a job of `stage` asks for: the stage's own words over those of all jobs."""
        own: StageResources = getattr(self.stages, stage)
        merged = self.sbatch.model_dump(exclude_unset=True) | own.model_dump(exclude_unset=True)
        return StageResources(**merged | {"options": [*self.sbatch.options, *own.options]})


def load_cluster(file: Path) -> ClusterConfig:
    """Read and check a cluster file; StudyError names file, key and what would be right."""
    return validate(ClusterConfig, read_config(file, "cluster"), file)
