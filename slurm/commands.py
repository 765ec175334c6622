"""SLURM's own commands, asked with a limit on how long they may take."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from study.errors import RunFailed, StudyError

# Seconds; a controller that is busy may take a while, one that is gone is never heard of.
PATIENCE = 60
# What SLURM's commands say where there is no controller, or none that is known here.
_NO_ANSWER = (
    *("Unable to contact", "Connection refused", "configuration source"),
    "Unable to process configuration file",
)


# Which SLURM is meant, and what a person asks of it for all jobs that a cluster file is silent on.
_KEPT = {
    *("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"),
    *(f"SBATCH_{what}" for what in ("ACCOUNT", "PARTITION", "QOS", "CONSTRAINT", "RESERVATION")),
}


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
    config = os.environ.get("SLURM_CONF")
    if config is not None and not Path(config).is_file():
        # SLURM itself would look for it for a minute.
        raise Silent(f"SLURM_CONF names {config}, which is not there: is that SLURM still running?")
    known = {k: v for k, v in os.environ.items() if not speaks_to_slurm(k)}
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
            # A Ctrl-C is for this process to handle: it must not end an sbatch half way.
            start_new_session=True,
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
            unset = "" if config else " (SLURM_CONF is not set)"
            raise Silent(said[-1] + unset)
        raise RunFailed("; ".join(line.strip() for line in said if line.strip()))
    return done.stdout


def speaks_to_slurm(name: str) -> bool:
    """Whether a variable of the shell would have a word in what SLURM's commands do.

    Those of the job that this is typed in would be taken for the new job's own (SLURM_MEM_PER_CPU
    beside --mem, say), and with SQUEUE_STATES a study's jobs would not be seen.
    """
    return name.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_")) and name not in _KEPT
