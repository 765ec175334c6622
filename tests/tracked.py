"""What tests of tracking share: a made job, and what wandb itself reads back."""

import json
import subprocess
import sys
from pathlib import Path

from study.schema import Tracking
from study.tracking import Job

OFFLINE = {"mode": "offline"}
GONE_WRONG = "wandb: "


def job(folder: Path, mode: str = "offline") -> Job:
    return Job(Tracking(mode=mode), "train", folder, "made", "name", "project", {"a": 1})


def logged(folder: Path) -> list[Path]:
    """The runs in a folder's `wandb/`, oldest first."""
    return sorted(folder.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_mtime_ns)


def inspect(run: Path) -> list[dict]:
    """Every record of a run, as wandb itself reads it back."""
    (file,) = run.glob("*.wandb")
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(records: list[dict], kind: str) -> list[dict]:
    return [record[kind] for record in records if record["type"] == kind]


def mirrored(records: list[dict]) -> list[dict]:
    """What was logged, a step at a time, without wandb's own keys."""
    items = [history["item"] for history in of(records, "history")]
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]
