"""`slurm.sync`: which folders it takes, what it leaves alone, and what it says."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.sync import sync
from study.errors import RunFailed
from study.expansion import Study, load_study
from study.lock import locked
from study.schema_files import Tracking
from study.tracking import Job, Tracker
from study.wandb_process import CLOSED
from tests.tracked import logged, write_study
from tests.wandb_server import Server, wandb_server

TABLES = f"made-{'0' * 16}"
pytestmark = pytest.mark.usefixtures("fresh_tracker")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with wandb_server(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/` of the study `made`: a run that was requeued; and another one and the tables, of
    which nothing is to be uploaded here."""
    runs = tmp_path_factory.mktemp("logged") / "runs"
    log(runs / "made" / "ae" / "seed-0", "ae", 2)
    log(runs / "made" / "ae" / "seed-0", "ae", 3)
    fake(runs / "made" / "vae" / "seed-0", "vae")
    fake(runs / "made", TABLES)
    return runs


@pytest.fixture
def runs(made_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_runs, tmp_path / "runs", symlinks=True))


@pytest.fixture
def made_study(tmp_path: Path) -> Study:
    return load_study(write_study(tmp_path))


def fake(folder: Path, name: str, kind: str = "offline-run-20260101_000000") -> Path:
    """A folder that looks like one of wandb's."""
    file = folder / "wandb" / f"{kind}-{name}" / f"run-{name}.wandb"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(100))
    return file


def closed(file: Path) -> Path:
    """The file, of a run that was logged to its end."""
    (file.parent / CLOSED).touch()
    return file


def log(folder: Path, name: str, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Tracker(Job(Tracking(mode="offline"), "train", folder, name, name, "p", {})) as tracker:
        for epoch in range(1, count + 1):
            tracker.log_epoch({"epoch": epoch, "train": {"loss": 1 / epoch}})


def marker(file: Path) -> Path:
    return Path(f"{file}.synced")


def markers(folder: Path) -> list[bool]:
    """Of each folder, oldest first, whether it counts as synced."""
    return [any(path.glob("*.synced")) for path in sorted(folder.glob("wandb/*run-*"))]


def epochs(server: Server, run: str) -> list[int]:
    return [line["epoch"] for line in server.history(run)]


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, without URLs."""
    return re.sub(r", http://\S+", "", capsys.readouterr().out).splitlines()


def test_the_newest_of_each_run_is_synced_once_and_a_newer_one_again(
    made_study: Study, runs: Path, server: Server, capsys
) -> None:
    ae, vae = runs / "made" / "ae" / "seed-0", runs / "made" / "vae" / "seed-0"
    assert sync(made_study, runs, dry_run=True) == 0
    would = {f"ae/seed-0 train: would sync {logged(ae)[-1]}", "3 runs to sync"}
    assert would < set(said(capsys)) and not server.asked
    marker(next(runs.glob("made/wandb/*/*.wandb"))).touch()
    with locked(vae):
        assert sync(made_study, runs) == 0
    wanted = [
        "ae/seed-0 train: synced",
        "made tables: up to date",
        "vae/seed-0 train: still running; sync it afterwards",
        "1 run synced, 1 up to date, 1 still running",
    ]
    assert said(capsys) == wanted
    assert server.runs() == {"ae"} and epochs(server, "ae") == [1, 2, 3]
    # wandb's own command would find nothing more of this run.
    assert markers(ae) == [True, True] and markers(vae) == [False]
    log(ae, "ae", 4)
    with locked(vae):
        assert sync(made_study, runs) == 0
        assert said(capsys) == wanted
        assert epochs(server, "ae") == [1, 2, 3, 4]
        server.asked.clear()
        assert sync(made_study, runs) == 0
    assert said(capsys)[-1] == "2 runs up to date, 1 still running" and not server.asked


def test_what_a_server_refuses_is_not_marked(
    made_study: Study, runs: Path, server: Server, capsys
) -> None:
    """wandb itself exits with 0 and marks it."""
    shutil.rmtree(runs / "made" / "vae")
    shutil.rmtree(runs / "made" / "wandb")
    server.refuses = {"file_stream": 403}
    assert sync(made_study, runs) == 1
    first, last = said(capsys)
    assert first.startswith("ae/seed-0 train: failed: ") and "Fatal error" in first
    assert last == "1 run failed"
    assert markers(runs / "made" / "ae" / "seed-0") == [False, False]


@pytest.mark.parametrize("key", [True, False])
def test_without_a_key_that_is_known_it_is_one_line(
    key: bool, made_study: Study, runs: Path, server: Server, monkeypatch, capfd
) -> None:
    server.refuses = {"Viewer": 401}
    if not key:
        monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(RunFailed) as caught:
        sync(made_study, runs)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("wandb: ") and line.endswith("; nothing was uploaded")
    assert ("401" if key else "no API key; 'wandb login'") in line
    assert caught.value.status == 1 and capfd.readouterr() == ("", "")
    assert not list(runs.rglob("*.synced"))


def test_what_was_written_to_afterwards_is_not_synced(
    made_study: Study, runs: Path, tmp_path: Path, capsys
) -> None:
    """Marked by a `wandb sync` in the middle of a run; beside it what cannot be uploaded."""
    ae = runs / "made" / "ae" / "seed-0"
    newest = logged(ae)[-1]
    early = marker(newest / "run-ae.wandb")
    early.touch()
    os.utime(early, (1, 1))
    fake(ae, "ae", "offline-run-20990101_000000").write_bytes(b":W&B\x00\x00\x00")
    # This one went online in the end.
    closed(fake(runs / "made" / "vae" / "seed-0", "vae", "run-20990101_000000"))
    sync(made_study, runs, dry_run=True)
    lines = said(capsys)
    assert f"ae/seed-0 train: would sync {newest}" in lines
    assert "vae/seed-0 train: up to date" in lines
    assert lines[-1] == "2 runs to sync, 1 up to date"


OFFLINE, ONLINE = "offline-run-2026010{}_000000", "run-2026010{}_000000"
SHUT, CUT = True, False


@pytest.mark.parametrize(
    ("folders", "taken"),
    [
        # A life that is killed in its first seconds has not logged all of the curve again.
        ([(OFFLINE, 9, SHUT), (OFFLINE, 5, CUT)], 0),
        ([(OFFLINE, 9, SHUT), (OFFLINE, 9, CUT)], 0),
        ([(OFFLINE, 9, CUT), (OFFLINE, 5, CUT)], 0),
        ([(OFFLINE, 9, SHUT), (OFFLINE, 11, CUT), (OFFLINE, 5, CUT)], 1),
        # What went on from an earlier checkpoint, or wrote less of it, is the run.
        ([(OFFLINE, 9, SHUT), (OFFLINE, 7, SHUT)], 1),
        ([(OFFLINE, 9, CUT), (OFFLINE, 7, SHUT), (OFFLINE, 5, CUT)], 1),
        # One that was killed may not have sent everything.
        ([(OFFLINE, 9, SHUT), (ONLINE, 11, CUT)], 1),
        ([(OFFLINE, 9, SHUT), (ONLINE, 5, CUT)], 0),
        ([(OFFLINE, 9, SHUT), (ONLINE, 11, SHUT)], None),
        ([(OFFLINE, 9, SHUT), (ONLINE, 11, SHUT), (OFFLINE, 5, CUT)], None),
    ],
)
@pytest.mark.parametrize("clock", ["right", "put back"])
def test_which_folder_is_the_run(
    folders: list, taken: int | None, clock: str, made_study: Study, tmp_path: Path, capsys
) -> None:
    out, files = tmp_path / "runs" / "made" / "vae" / "seed-0", []
    for at, (kind, size, whole) in enumerate(folders):
        day = at + 1 if clock == "right" else 9 - at
        files.append(fake(out, "vae", kind.format(day)))
        files[-1].write_bytes(bytes(100 * size))
        os.utime(files[-1], (at, at))
        if whole:
            closed(files[-1])
    sync(made_study, tmp_path / "runs", dry_run=True)
    what = "up to date" if taken is None else f"would sync {files[taken].parent}"
    assert said(capsys)[0].endswith(f"seed-0 train: {what}")


def test_what_an_online_life_overwrote_is_sent_again(
    made_study: Study, tmp_path: Path, capsys
) -> None:
    """It took the place of what was uploaded, and died before it held as much."""
    out = tmp_path / "runs" / "made" / "vae" / "seed-0"
    whole = closed(fake(out, "vae", OFFLINE.format(1)))
    marker(whole).touch()
    sync(made_study, tmp_path / "runs", dry_run=True)
    assert said(capsys)[0].endswith(": up to date")
    later = fake(out, "vae", ONLINE.format(2))
    later.write_bytes(bytes(50))
    os.utime(later, (2**31, 2**31))
    sync(made_study, tmp_path / "runs", dry_run=True)
    assert said(capsys)[0].endswith(f": would sync {whole.parent}")


def test_of_wandb_dir_only_what_is_the_studys(
    made_study: Study, runs: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shared = tmp_path / "shared"
    fake(shared, "others")
    shutil.move(next(runs.glob("made/wandb/offline-run-*")), shared / "wandb")
    shutil.rmtree(runs / "made" / "vae")
    monkeypatch.setenv("WANDB_DIR", str(shared))
    sync(made_study, runs, dry_run=True)
    first, second, last = said(capsys)
    assert first.startswith("ae/seed-0 train: would sync ")
    assert second.startswith(f"made tables: would sync {shared / 'wandb'}")
    assert last == "2 runs to sync"


def test_nothing_logged_is_said(made_study: Study, tmp_path: Path, capsys) -> None:
    assert sync(made_study, tmp_path / "none") == 0
    assert said(capsys) == [f"{tmp_path}/none/made: nothing there was logged to wandb offline"]
