"""What tests of `reproduce.py` share: a small study, the command, and what it left."""

import json
import subprocess
import sys
from pathlib import Path

from study.provenance import ROOT
from tests import made

RUNS = {"ae": "AE", "vae": "VAE"}


def write_study(folder: Path, **changes) -> Path:
    """A study on the real `shapes`, cut down by tiny networks and one epoch."""
    trainer = {
        "name": "BaseTrainerConfig",
        "num_epochs": 1,
        "per_device_train_batch_size": 512,
        "per_device_eval_batch_size": 512,
        "learning_rate": 1e-3,
        "no_cuda": True,
    }
    how = made.EVALUATION | {"likelihood": {"name": "bernoulli"}}
    networks = {"name": "mlp", "encoder": [8], "decoder": [8]}
    for name, kind in RUNS.items():
        made.run_file(
            folder,
            kind,
            name,
            dataset="shapes",
            networks=networks,
            trainer=trainer,
            evaluation=how,
        )
    sections = {
        "tables": [{"name": "table", "title": "Table", "metrics": ["MSE", "KL", "ELBO", "SSIM"]}],
        "budgets": {"less": {"cost": "Less.", "seeds": [7]}},
    }
    study = made.study_config({name: f"{name}.json" for name in RUNS}, **sections | changes)
    path = folder / "made.json"
    path.write_text(json.dumps(study))
    return path


def folders(work: Path) -> list[str]:
    return [
        word for name in ("data", "runs", "results") for word in (f"--{name}", str(work / name))
    ]


def command(study: Path, work: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "reproduce.py"), str(study), *folders(work), *more]


def reproduce(study: Path, work: Path, *more: str, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(command(study, work, *more), capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def snapshot(work: Path) -> dict[str, object]:
    """Every file's content, without times, host and whatever names the folder it lies in."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*")):
        if path.is_file():
            content = path.read_bytes().replace(str(work).encode(), b"WORK")
            key = path.relative_to(work).as_posix()
            found[key] = comparable(path, content)
    return found


def comparable(path: Path, content: bytes) -> object:
    if path.name in ("run.json", "finished.json", "runs.json"):
        return without(json.loads(content), {"started", "finished", "seconds", "training_seconds"})
    if path.name == "history.jsonl":
        return [without(json.loads(line), {"seconds"}) for line in content.splitlines()]
    if path.suffix == ".npz" and path.name in ("per_image.npz", "pictures.npz"):
        import numpy as np

        with np.load(path) as arrays:
            return {key: arrays[key].tobytes() for key in arrays}
    if path.name == "model.pt":
        from train.run import load_trained  # imports torch, and conftest.py this file

        _, model = load_trained(path.parent.parent)
        return {key: value.numpy().tobytes() for key, value in model.state_dict().items()}
    if path.suffix == ".pkl":  # the same weights again, with addresses of this process
        return "pickle"
    if path.name == "README.md":
        return [line for line in content.decode().splitlines() if "training took" not in line]
    return content


def without(value, keys: set[str]):
    if isinstance(value, dict):
        return {k: without(v, keys) for k, v in value.items() if k not in keys}
    return [without(v, keys) for v in value] if isinstance(value, list) else value
