"""wandb as a mirror: real runs read back, and everything that may go wrong with it."""

import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.mirror import mirror_tables
from evaluate.run import evaluate_run
from study import tracking
from study.datasets import open_dataset
from study.errors import StudyError
from study.expansion import load_study
from study.provenance import ROOT
from study.runs import load_run
from study.schema import Tracking
from study.tracking import Job, Tracker, mode_of
from tests import made
from tests.training import train, weights
from train.history import read_history
from train.run import train_run

OFFLINE = {"mode": "offline"}
GONE_WRONG = "wandb: "


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has met no trouble yet."""
    monkeypatch.setattr(Tracker, "_said", set())
    monkeypatch.setattr(Tracker, "_unreachable", False)


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


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, data: Path) -> Path:
    """A run that was trained and evaluated under tracking."""
    how = OFFLINE | {
        "project": "vqvae-celeba",
        "evaluation_project": "vqvae-evaluation",
        "group": "a study",
        "tags": ["small", "β"],
        "notes": "to be read back",
    }
    out = train(tmp_path_factory.mktemp("tracked"), data, tracking=how, out="vae/seed-3")
    evaluate_run(out, data)
    return out


def test_training_is_mirrored_epoch_by_epoch(tracked: Path) -> None:
    records = inspect(logged(tracked)[0])
    (run,) = of(records, "run")
    assert run["project"] == "vqvae-celeba" and run["run_group"] == "a study"
    assert run["job_type"] == "train" and run["display_name"] == "vae/seed-3"
    assert run["tags"] == ["small", "β"] and run["notes"] == "to be read back"
    recorded = json.loads((tracked / "run.json").read_text())
    config = run["config"]["update"]
    assert config["model"] == recorded["config"]["model"]
    assert config["trainer"] == recorded["config"]["trainer"]
    assert config["run"]["data"] == recorded["data"]
    assert {"glob_name": "*", "step_metric": "epoch"}.items() <= of(records, "metric")[1].items()
    history = read_history(tracked / "history.jsonl")
    assert len(history) == 2 and history[0]["learning_rate"] == 1e-3
    for line, epoch in zip(history, mirrored(records), strict=True):
        for split in ("train", "eval"):
            terms = line.pop(split)
            assert len(terms) == 3
            line |= {f"{split}/{name}": value for name, value in terms.items()}
        assert epoch == pytest.approx(line, rel=1e-12)
    assert of(records, "exit") and not of(records, "exit")[0].get("exit_code")


def test_evaluation_is_a_run_beside_it(tracked: Path, data: Path) -> None:
    run = logged(tracked)[1]
    records = inspect(run)
    about = of(records, "run")[0]
    assert about["job_type"] == "evaluate" and about["project"] == "vqvae-evaluation"
    assert about["run_group"] == "a study" and about["display_name"] == "vae/seed-3"
    metrics = json.loads((tracked / "metrics.json").read_text())["splits"]["eval"]["metrics"]
    scalars = {key: value for item in mirrored(records) for key, value in item.items()}
    for metric in metrics.values():
        assert scalars[f"eval/reconstruction/{metric['title']}"] == metric["mean"]
    (table,) = run.glob("files/media/table/metrics/*.json")
    table = json.loads(table.read_text())
    assert table["columns"][:5] == ["split", "of", "metric", "mean", "sd"]
    wanted = [["eval", "reconstruction", m["title"], m["mean"], m["sd"]] for m in metrics.values()]
    assert [row[:5] for row in table["data"]] == wanted
    pictures = {path.read_bytes() for path in run.glob("files/media/images/*.png")}
    names = ("reconstructions.png", "generations.png")
    assert pictures == {(tracked / name).read_bytes() for name in names}
    # Again: the same run in wandb, and another one than that of training.
    evaluate_run(tracked, data)
    first, again = logged(tracked)[1:]
    assert first.name.split("-")[-1] == again.name.split("-")[-1]
    assert logged(tracked)[0].name.split("-")[-1] != again.name.split("-")[-1]


def test_weights_and_generators_are_those_of_an_untracked_run(
    tracked: Path, tmp_path, data
) -> None:
    plain = train(tmp_path, data)
    one, two = weights(plain), weights(tracked)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not (plain / "wandb").exists()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with Tracker(job(tmp_path)) as tracker:
        tracker.log_values({"x": 1.0})
    assert logged(tmp_path)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert states == after


def test_tracking_is_no_part_of_what_a_run_is(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    before = (out / "final_model").stat().st_mtime_ns
    run = load_run(tmp_path / "run.json", {"tracking.mode": "offline", "tracking.group": "g"})
    assert train_run(run, open_dataset(data, "tiny"), out) is False
    assert (out / "final_model").stat().st_mtime_ns == before
    recorded = json.loads((out / "run.json").read_text())["config"]["tracking"]
    assert recorded["mode"] == "offline" and recorded["group"] == "g"
    # What wandb left is a run's own, so a run that starts anew clears it away.
    (out / "wandb").mkdir()
    assert train_run(load_run(tmp_path / "run.json"), open_dataset(data, "tiny"), out) is False
    again = load_run(tmp_path / "run.json", seed=9)
    assert train_run(again, open_dataset(data, "tiny"), out, overwrite=True)
    assert not (out / "wandb").exists()


OFF = """
import sys
from pathlib import Path
from tests.training import train
train(Path(sys.argv[1]), Path(sys.argv[2]))
print([name for name in sys.modules if name.split(".")[0] == "wandb"])
"""


def test_off_imports_and_starts_nothing(tmp_path: Path, data: Path, monkeypatch) -> None:
    words = [sys.executable, "-c", OFF, str(tmp_path), str(data)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and GONE_WRONG not in done.stderr
    assert not (tmp_path / "out" / "wandb").exists()
    monkeypatch.setattr(tracking.subprocess, "Popen", None)
    with Tracker(job(tmp_path, "off")) as tracker:
        tracker.log_epoch({"epoch": 1, "train": {"loss": 1.0}})


@pytest.mark.parametrize(
    ("config", "environment", "mode"),
    [
        ("off", None, "off"),
        ("off", "", "off"),
        ("offline", None, "offline"),
        ("off", "offline", "offline"),
        ("online", "offline", "offline"),
        ("online", "disabled", "off"),
        ("off", "online", "online"),
        ("offline", "offlien", "off"),
    ],
)
def test_wandb_mode_overrules_the_config(config, environment, mode, monkeypatch, capsys) -> None:
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert mode_of(Tracking(mode=config)) == mode
    said = capsys.readouterr().err
    assert ("WANDB_MODE=offlien is not one of online" in said) == (environment == "offlien")


def fake_wandb(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "wandb.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


RUN = """
import os, time
class Settings:
    def __init__(self, **given): pass
class Run:
    dir = "."; url = "u"; offline = True
    def define_metric(self, *a, **k): pass
    def log(self, values): {log}
    def finish(self, **given): {finish}
def init(**given):
    {init}
    return Run()
"""
WORKS = {"log": "pass", "finish": "pass", "init": "pass"}
BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'wandb'\")",
    "import": "1 / 0",
    "init": RUN.format(**WORKS | {"init": "raise ValueError('two\\nlines')"}),
    "log": RUN.format(**WORKS | {"log": "raise KeyError('x')"}),
    "finish": RUN.format(**WORKS | {"finish": "raise OSError(28, 'No space left on device')"}),
    "dies": RUN.format(**WORKS | {"log": "os.kill(os.getpid(), 9)"}),
    "hangs": RUN.format(**WORKS | {"log": "time.sleep(600)"}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_wandb_costs_one_line(how: str, tmp_path: Path, data, monkeypatch, capsys) -> None:
    """The run goes on to the same end; a second run in the process adds no line."""
    fake_wandb(tmp_path / "fake", BROKEN[how], monkeypatch)
    for name in ("INIT_TIMEOUT", "FINISH_TIMEOUT", "GRACE"):
        monkeypatch.setattr(tracking, name, 1.0 if how == "hangs" else 30.0)
    out = train(tmp_path, data, tracking=OFFLINE)
    assert len(read_history(out / "history.jsonl")) == 2
    assert weights(out)
    with Tracker(job(tmp_path)) as tracker:
        tracker.log_values({"x": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(GONE_WRONG), lines
    assert lines[0].endswith("; the work went on without it")


ONLINE = """
import sys, time
from pathlib import Path
from study import tracking
from study.schema import Tracking
from study.tracking import Job, Tracker
tracking.INIT_TIMEOUT = 3.0
for name in ("a", "b"):
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    with Tracker(Job(Tracking(mode="online"), "train", folder, name, name, "p", {})) as tracker:
        tracker.log_epoch({"epoch": 1, "train": {"loss": 1.0}})
"""


@pytest.mark.parametrize("key", [True, False])
def test_online_without_key_or_answer_asks_nobody_and_goes_offline(key, tmp_path, monkeypatch):
    """On a terminal, where wandb would prompt; the server takes the call and never speaks."""
    home = tmp_path / "home"
    home.mkdir()
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("HOME", str(home))
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", ONLINE, str(tmp_path)]
    try:
        process = subprocess.Popen(words, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
        assert process.wait(240) == 0
        os.set_blocking(ours, False)
        said = os.read(ours, 1 << 16).decode().splitlines()
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
        server.close()
    first, *found = [line for line in said if line]
    assert first.startswith("wandb: not online (") and first.endswith("; tracked offline")
    assert ("no API key" in first) == (not key)
    assert len(found) == 2 and all("'wandb sync " in line for line in found)
    assert logged(tmp_path / "a") and logged(tmp_path / "b")
    assert list(home.rglob("*")) == []


def test_nothing_is_written_outside_and_an_unwritable_home_is_no_matter(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    with Tracker(job(tmp_path / "run")) as tracker:
        tracker.log_table("t", ["a", "b"], [["x", 1.5], ["y", None]])
    (run,) = logged(tmp_path / "run")
    said = capsys.readouterr().err
    assert said == f"wandb: train name: 'wandb sync run/wandb/{run.name}' uploads it\n"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "tmp"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["wandb"]
    assert list(temporary.iterdir()) == []
    (table,) = run.glob("files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["x", 1.5], ["y", None]]


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_DIR", "/dev/null")
    out = train(tmp_path, data, tracking=OFFLINE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "/dev/null/wandb: Not a directory" in lines[0]
    assert weights(out) and not (out / "wandb").exists()


FULL = """
import sys
from pathlib import Path
from study.schema import Tracking
from study.tracking import Job, Tracker
job = Job(Tracking(mode="offline"), "train", Path(sys.argv[1]), "made", "name", "project", {})
with Tracker(job) as tracker:
    for epoch in range(4000):
        tracker.log_epoch({"epoch": epoch, "train": {"loss": epoch / 7}})
print("went on")
"""
TMPFS = 'mount -t tmpfs -o size=256k none "$1" && exec "$0" -c "$2" "$1"'


def test_a_full_disk_costs_one_line(tmp_path: Path) -> None:
    """A real one: a file system of 256 KiB in a mount namespace of its own."""
    words = ["unshare", "-rm", "sh", "-c", TMPFS, sys.executable, str(tmp_path), FULL]
    trial = [*words[:-1], "pass"]
    if not shutil.which("unshare") or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs user namespaces")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout == "went on\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("wandb: OSError: ") and line.endswith("; the work went on without it")


KILLED = """
import sys, time
from pathlib import Path
from study.schema import Tracking
from study.tracking import Job, Tracker
job = Job(Tracking(mode="offline"), "train", Path(sys.argv[1]), "made", "name", "project", {})
tracker = Tracker(job)
tracker.log_epoch({"epoch": 1, "train": {"loss": 0.5}})
print("logged", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_had_logged_is_whole(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "logged\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 120
        ended: list[dict] = []
        while not ended and time.monotonic() < deadline:
            time.sleep(0.2)
            if list(tmp_path.glob("wandb/offline-run-*/*.wandb")):
                records = inspect(logged(tmp_path)[0])
                ended = of(records, "exit")
    finally:
        process.kill()
    assert ended[0]["exit_code"] == 1
    assert mirrored(records) == [{"epoch": 1, "train/loss": 0.5}]


def write_study(folder: Path, **changes: object) -> Path:
    made.run_file(folder, "AE", "ae", tracking={"project": "of-the-file", "entity": "us"})
    made.run_file(folder, "VAE", "vae")
    study = {
        "name": "made",
        "title": "Made",
        "source": "a test",
        "cost": "Nothing.",
        "data": {"dataset": "shapes", "name": "tiny"},
        "split": "eval",
        "runs": [{"name": n, "config": f"{n}.json", "label": n.upper()} for n in ("ae", "vae")],
        "seeds": [0],
        "tables": [{"name": "table", "title": "Table", "metrics": ["MSE", "KL"]}],
        "budgets": {"small": {"cost": "Less."}},
    } | changes
    path = folder / "made.json"
    path.write_text(json.dumps(study))
    return path


def test_set_goes_over_study_goes_over_run_file(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    ae, vae = (cell.run.config.tracking for cell in load_study(file, "small").cells)
    assert (ae.mode, ae.project, ae.entity) == ("off", "of-the-file", "us")
    assert (vae.project, vae.group, vae.name) == ("made", "made-small", "made-small/vae/seed-0")
    file = write_study(tmp_path, tracking={"project": "of-the-study", "mode": "online"})
    study = load_study(file, None, {"tracking.mode": "offline"})
    ae, vae = (cell.run.config.tracking for cell in study.cells)
    assert (ae.mode, ae.project, ae.entity) == ("offline", "of-the-study", "us")
    assert ae.group == "made" and study.tracking.name == "made/tables"
    assert (study.tracking.mode, study.tracking.project) == ("offline", "of-the-study")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"mode": "on"}, "tracking.mode: Input should be 'off', 'offline' or 'online', not 'on'"),
        ({"projekt": "x"}, r"tracking.projekt: unknown key \(did you mean 'project'\?\)"),
        ({"project": "a/b"}, "tracking.project: .*pattern"),
        ({"name": "one for all"}, "tracking.name: a study sets tracking.name by its 'runs'"),
    ],
)
def test_bad_tracking_is_refused(section: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write_study(tmp_path, tracking=section))


def test_tables_of_a_study_are_mirrored(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, tracking=OFFLINE | {"project": "p"}))
    results, runs = tmp_path / "results", tmp_path / "runs"
    results.mkdir()
    (results / "table.csv").write_text("model,seeds,KL\nAE,1,\nVAE,1,2.5\n")
    about = dict.fromkeys(("study", "title", "source", "budget", "cost", "split"), "x")
    mirror_tables(study, about | {"rows": []}, results, runs)
    (run,) = logged(runs / "made")
    (about,) = of(inspect(run), "run")
    assert (about["job_type"], about["run_group"], about["project"]) == ("tables", "made", "p")
    assert about["display_name"] == "made/tables"
    (table,) = run.glob("files/media/table/tables/*.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["model", "seeds", "KL"]
    assert table["data"] == [["AE", 1, None], ["VAE", 1, 2.5]]
