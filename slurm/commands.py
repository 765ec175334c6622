"""SLURM's own commands, asked with a limit on how long they may take."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from study.errors import RunFailed, StudyError, one_line

# Seconds; a controller that is busy may take a while, one that is gone is never heard of.
PATIENCE = 60


class Silent(StudyError):
    """SLURM is not there or does not answer."""


def ask(words: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What the command `words` prints.

    `environment`: further variables. Silent where there is no such command or no answer, RunFailed,
    with what it said, where it refuses.
    """
    known = {k: v for k, v in os.environ.items() if not inherited_from_a_job(k)}
    try:
        done = subprocess.run(
            words,
            env=known | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except FileNotFoundError:
        raise Silent(
            f"{words[0]}: not found; this is for a machine on which SLURM's commands work, such "
            f"as a cluster's login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise Silent(f"{words[0]}: no answer within {PATIENCE} seconds") from None
    if done.returncode:
        said = one_line(RuntimeError(done.stderr or done.stdout or f"status {done.returncode}"))
        if "Unable to contact" in said or "Connection refused" in said:
            raise Silent(f"{words[0]}: {said}")
        raise RunFailed(said if said.startswith(words[0]) else f"{words[0]}: {said}")
    return done.stdout


def inherited_from_a_job(name: str) -> bool:
    """Whether a variable is of the job that this is typed in, which would be taken for the new
    job's own (SLURM_MEM_PER_CPU beside --mem, say)."""
    return name.startswith("SLURM_") and name != "SLURM_CONF"
