"""Where a result came from: code, versions, machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "pythae",
    "torch",
    "torchvision",
    "numpy",
    "piq",
    "lpips",
    "pandas",
    "pydantic",
    "pillow",
)


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_version() -> dict[str, Any]:
    """Git commit of this checkout, and whether tracked files differ from it; else None."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:
        # An unpacked archive inside somebody's own repository is not a checkout of this code.
        return {"commit": None, "dirty": None}
    commit = _git("rev-parse", "HEAD")
    # results/ is what the code writes, so that a study run twice would count as changed code.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return {"commit": commit, "dirty": None if commit is None else bool(changed)}


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {p: _package_version(p) for p in PACKAGES}


def _processor() -> str:
    """The processor's name as Linux gives it; else what Python knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(no_gpu: bool = False) -> dict[str, Any]:
    """Host, processor, usable cores, threads, SLURM job and, unless `no_gpu`, the GPU.

    The last two are None where there is none.
    """
    import torch

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": None if no_gpu or not torch.cuda.is_available() else torch.cuda.get_device_name(0),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
