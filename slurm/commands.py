"""SLURM's own commands, asked with a limit on how long they may take."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.errors import RunFailed, StudyError

# Seconds; a controller that is busy may take a while, one that is gone is never heard of.
PATIENCE = 60
# What SLURM's commands say where there is no controller, or none that is known here.
_NO_ANSWER = ("Unable to contact", "Connection refused", "configuration source")


class Silent(StudyError):
    """SLURM is not there or does not answer."""


def ask(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What the command `words` prints, called in the folder `cwd`.

    `environment`: further variables. Silent where there is no such command or no answer, RunFailed,
    with what it said, where it refuses.
    """
    known = {k: v for k, v in os.environ.items() if not inherited_from_a_job(k)}
    try:
        done = subprocess.run(
            words,
            env=known | dict(environment or {}),
            cwd=cwd,
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
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").split(
            "\n"
        )
        if any(sign in done.stderr for sign in _NO_ANSWER):
            # The last of several lines says what came of the others.
            raise Silent(said[-1])
        raise RunFailed("; ".join(line.strip() for line in said if line.strip()))
    return done.stdout


def inherited_from_a_job(name: str) -> bool:
    """Whether a variable is of the job that this is typed in, which would be taken for the new
    job's own (SLURM_MEM_PER_CPU beside --mem, say)."""
    return name.startswith("SLURM_") and name != "SLURM_CONF"
