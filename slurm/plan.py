"""What a submission consists of: which runs, in which array, by which commands."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slurm.names import job_name, log_pattern
from study.clusters import ClusterConfig, StageResources
from study.errors import StudyError
from study.expansion import Study
from study.provenance import ROOT


@dataclass(frozen=True)
class Command:
    """One call of sbatch."""

    stage: str
    # The file in slurm/ and what it is told, after all options.
    options: list[str]
    script: list[str]
    # Variables that it is called with, over those of the shell.
    environment: dict[str, str]
    # Of an array: its indices in the study's order.
    indices: list[int] = field(default_factory=list)

    def words(self, after: dict[str, list[str]]) -> list[str]:
        """The call; `after`: jobs to wait for, by what is wanted of them (afterok, afterany)."""
        return ["sbatch", *self.options, *_dependency(after), *self.script]

    def shell(self, after: dict[str, list[str]]) -> str:
        """The call as typed into a shell that has the `environment`; jobs in `after` may be a
        shell's variables."""
        # A variable of the shell is the one thing that must not be quoted.
        waiting = " ".join(f'"{word}"' for word in _dependency(after))
        parts = ["sbatch", shlex.join(self.options), waiting, shlex.join(self.script)]
        return " ".join(part for part in parts if part)


def _dependency(after: dict[str, list[str]]) -> list[str]:
    wanted = [":".join([kind, *jobs]) for kind, jobs in after.items() if jobs]
    if not wanted:
        return []
    # Without the second a job whose dependency failed would wait for ever.
    return [f"--dependency={','.join(wanted)}", "--kill-on-invalid-dep=yes"]


def digest(study: Study) -> str:
    """What a study's runs are, in twelve letters: an index of an array counts these."""
    cells = [
        [cell.title, {k: v for k, v in cell.run.resolved().items() if k != "tracking"}]
        for cell in study.cells
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:12]


def array_of(indices: Sequence[int]) -> str:
    """sbatch's way to write them: [0, 1, 2, 5] is 0-2,5."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], index]
        else:
            parts.append([index])
    return ",".join("-".join(map(str, part)) for part in parts)


def command(
    study: Study,
    arguments: Any,
    site: ClusterConfig,
    stage: str,
    indices: Sequence[int] = (),
) -> Command:
    """The call of sbatch for a stage of the study; `indices` of the runs in its array."""
    options = [
        "--parsable",
        f"--job-name={job_name(study, arguments.runs, stage)}",
        f"--output={log_pattern(study, arguments.runs, stage)}",
        *("--export=ALL", "--requeue", "--open-mode=append"),
        *asked_for(site.resources(stage), arguments.gpu if stage == "run" else None),
    ]
    if stage != "data":
        options.append(f"--signal=B:USR1@{site.warning}")
    script = [f"slurm/{stage}.sbatch", *study_words(arguments)]
    script.append(f"--max-requeues={site.max_requeues}")
    if stage == "run":
        at_once = arguments.max_parallel or site.max_parallel
        options.append(f"--array={array_of(indices)}" + (f"%{at_once}" if at_once else ""))
        script.append(f"--digest={digest(study)}")
    return Command(stage, options, script, variables(site), list(indices))


def asked_for(resources: StageResources, gpu: str | None) -> list[str]:
    """sbatch's options for what a stage asks for; `gpu`: a type in place of any."""
    given = resources.model_dump(exclude={"options", "gres"}, exclude_none=True)
    options = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
    # The .sbatch files ask for a GPU by themselves.
    options.append(f"--gres={of_type(resources.gres, gpu) or 'none'}")
    return options + resources.options


def of_type(gres: str | None, gpu: str | None) -> str | None:
    """`gpu:1` as `gpu:a100:1`; StudyError where no GPU is asked for."""
    if gpu is None:
        return gres
    parts = (gres or "").split(":")
    if parts[0] != "gpu":
        raise StudyError(f"--gpu {gpu}: the cluster file asks for no GPU (key stages.run.gres)")
    count = parts[-1] if parts[-1].isdecimal() else "1"
    return f"gpu:{gpu}:{count}"


def variables(site: ClusterConfig) -> dict[str, str]:
    """What the job's shell is told; empty ones overrule those that a shell may have set."""
    return site.variables | {
        "VAE_STUDY_MODULES": " ".join(site.modules),
        "VAE_STUDY_CONDA": site.environment.conda or "",
        "VAE_STUDY_VENV": site.environment.venv or "",
    }


def study_words(arguments: Any) -> list[str]:
    """The study and its options as `study.cli.add_study` reads them, from the root; what is the
    default anyway is left out."""
    words = [_from_root(arguments.study)]
    if arguments.budget:
        words.append(f"--budget={arguments.budget}")
    for name in ("raw", "data", "runs", "results", "weights"):
        if (path := getattr(arguments, name)) is not None and path != Path(name):
            words.append(f"--{name}={_from_root(path)}")
    words += [f"--set={text}" for text in arguments.set]
    if arguments.require:
        words.append(f"--require={','.join(arguments.require)}")
    return words


def _from_root(path: Path) -> str:
    """A path as a job, which is at the root, finds it."""
    whole = path.absolute()
    return str(whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole)
