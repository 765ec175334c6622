"""How a study's jobs are called in the queue, and where their logs and records lie.

A job's name is all that tells SLURM's queue whose it is: it follows from the study and from the
folder of its runs, so that `--status` and `--cancel` find this study's jobs and no others.
"""

import hashlib
from pathlib import Path

from study.errors import StudyError
from study.expansion import Study

STAGES = ("data", "run", "tables")
# Below the study's run directories; no run may be called so.
FOLDER = "slurm"


def job_name(study: Study, runs: Path, stage: str) -> str:
    """`celeba64-small.3f2a9c1b.run`: study, a hash of where its runs lie, stage."""
    where = hashlib.sha256(str(runs.resolve()).encode()).hexdigest()[:8]
    return f"{study.name}.{where}.{stage}"


def job_folder(study: Study, runs: Path) -> Path:
    """Logs (`run-<job>_<index>.log`, `tables-<job>.log`) and records (`<job>.json`) of its jobs."""
    return runs / study.name / FOLDER


def log_pattern(study: Study, runs: Path, stage: str) -> str:
    """sbatch's `--output`."""
    # A % of the folder's own is no pattern.
    folder = str(job_folder(study, runs).absolute()).replace("%", "%%")
    return f"{folder}/{stage}-{'%A_%a' if stage == 'run' else '%j'}.log"


def check_log_folder(study: Study, runs: Path) -> None:
    """StudyError where SLURM would take the folder of the logs for another one."""
    if "\\" in str(folder := job_folder(study, runs).absolute()):
        raise StudyError(
            f"{folder}: SLURM writes no log below a folder with a backslash in its name; --runs "
            f"names another"
        )
