"""What tests of tracking share: a made job, and what wandb itself reads back."""

import json
import subprocess
import sys
from pathlib import Path

from study.schema_files import Tracking
from study.tracking import Job
from tests import made

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


def flat(line: dict) -> dict:
    """A line of `history.jsonl` as it is mirrored."""
    terms = {f"{s}/{k}": v for s in ("train", "eval") for k, v in line[s].items()}
    return terms | {key: value for key, value in line.items() if key not in ("train", "eval")}


def mirrored(records: list[dict]) -> list[dict]:
    """What was logged, a step at a time, without wandb's own keys."""
    items = [history["item"] for history in of(records, "history")]
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]


def write_study(folder: Path, **changes: object) -> Path:
    """A study of two runs of the set `tiny`, of which one says itself how it is tracked."""
    made.run_file(folder, "AE", "ae", tracking={"project": "of-the-file", "entity": "us"})
    made.run_file(folder, "VAE", "vae")
    sections = {
        "data": {"dataset": "shapes", "name": "tiny"},
        "seeds": [0],
        "budgets": {"small": {"cost": "Less."}},
    }
    study = made.study_config({"ae": "ae.json", "vae": "vae.json"}, **sections | changes)
    path = folder / "made.json"
    path.write_text(json.dumps(study))
    return path
