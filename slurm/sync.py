"""`python -m slurm --sync STUDY`: upload what a study's runs logged to wandb offline.

A job that goes on writes a new folder with the whole of its curve, so the newest folder of an id
that was closed properly is the run, unless a newer one holds more; the others are superseded. It
takes the place of what a server has of that id: wandb sends it from line 0 on, and as no resumed
run (`study.tracking`). It looks at run directories alone and works for a study that never saw
SLURM, too.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.errors import RunFailed, StudyError
from study.expansion import Study
from study.lock import is_held
from study.rundir import RunDirectory
from study.tracking import run_job
from study.wandb_process import CLOSED

# Seconds that a server may take to know a key, and to take in one run.
LOGIN_TIMEOUT = 90.0
UPLOAD_TIMEOUT = 900.0
# Bytes that every file of wandb's begins with; one that is no longer holds nothing.
HEADER = 7
# wandb's names; one that was online from the start has no `offline-`.
NAME = re.compile(r"(?P<offline>offline-)?run-(?P<begun>\d{8}_\d{6})-(?P<id>.+)")
# In a process of its own, as is all that wandb does.
LOGIN = """
import wandb
try:
    known = wandb.login(prompt=False)
    print("login:", "done" if known else "no API key; 'wandb login' or WANDB_API_KEY gives one")
except Exception as error:
    print("login:", *str(error).split())
"""
# Of a user's environment, what would make of an upload something else.
UNSET = ("WANDB_MODE", "WANDB_RESUME", "WANDB_RUN_ID", "WANDB_SILENT", "WANDB_QUIET")


@dataclass(frozen=True)
class Logged:
    """One id in wandb, and the folders that it was logged into, oldest first."""

    title: str
    # Where whoever logs it holds the lock.
    owner: Path
    folders: tuple[Path, ...]

    @property
    def fullest(self) -> Path:
        """The folder that is the run. One whose job was killed in its first seconds has not even
        logged again what was there before."""
        closed = [at for at, folder in enumerate(self.folders) if _is_closed(folder)]
        since = self.folders[closed[-1] if closed else 0 :]
        # Of equals the newest; but what is closed stays where one that is not holds no more.
        return max(since, key=lambda folder: (_size(folder), _is_closed(folder), _age(folder)))

    def state(self) -> str:
        """`running`, `synced`, or `new` where it is to be uploaded."""
        if is_held(self.owner):
            return "running"
        online = [folder for folder in self.folders if not folder.name.startswith("offline-")]
        if self.fullest in online and _is_closed(self.fullest):
            # It has sent everything itself.
            return "synced"
        return "synced" if _is_marked(self.fullest, online) else "new"


def sync(study: Study, runs: Path, dry_run: bool = False) -> int:
    """Upload the fullest folder of each run, evaluation and table of a study in `runs`/<study>.

    Prints a line each and a sum. Leaves alone what was uploaded since it was last written to, and
    runs that a process is at work in. Returns 1 where an upload failed, else 0; RunFailed, and
    nothing uploaded, without an API key that the server takes.
    """
    found = logged_runs(study, runs)
    if not found:
        print(f"{runs / study.name}: nothing there was logged to wandb offline")
        return 0
    states = {run: run.state() for run in found}
    if not dry_run and "new" in states.values():
        _login()
    counts: Counter[str] = Counter()
    for run, state in states.items():
        if state == "new" and not dry_run:
            state, said = _upload(run)
        else:
            said = {
                "running": "still running; sync it afterwards",
                "synced": "up to date",
                "new": f"would sync {run.fullest}",
            }[state]
        counts[state] += 1
        print(f"{run.title}: {said}", flush=True)
    print(_sum(counts))
    return 1 if counts["failed"] else 0


def logged_runs(study: Study, runs: Path) -> list[Logged]:
    """What a study's runs logged offline, by id; of `WANDB_DIR` only what is this study's."""
    base = runs / study.name
    by_id: dict[str, list[Path]] = {}
    for folder in _folders(base):
        by_id.setdefault(_parts(folder)["id"], []).append(folder)
    known = dict(_known(base))
    elsewhere = os.environ.get("WANDB_DIR")
    for folder in sorted(Path(elsewhere).absolute().glob("wandb/*run-*")) if elsewhere else []:
        found = NAME.fullmatch(folder.name)
        if found and (found["id"] in known or _is_table(found["id"], study)) and _holds(folder):
            by_id.setdefault(found["id"], []).append(folder)
    made = []
    for name, folders in by_id.items():
        owner, stage = known.get(name, (folders[0].parent.parent, "train"))
        if _is_table(name, study):
            owner, stage = base, "tables"
        title = owner.relative_to(base).as_posix() if owner != base else study.name
        made.append(Logged(f"{title} {stage}", owner, tuple(sorted(folders, key=_age))))
    with_offline = [run for run in made if any(f.name[0] == "o" for f in run.folders)]
    return sorted(with_offline, key=lambda run: run.title)


def _folders(base: Path) -> Iterator[Path]:
    for folder in base.glob("**/wandb/*run-*"):
        if NAME.fullmatch(folder.name) and not folder.is_symlink() and _holds(folder):
            yield folder


def _parts(folder: Path) -> dict[str, str]:
    found = NAME.fullmatch(folder.name)
    assert found
    return found.groupdict()


def _known(base: Path) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Id -> directory and stage, of every run directory of the study."""
    for record in base.glob("**/run.json"):
        with suppress(StudyError):
            for stage in ("train", "evaluate"):
                yield run_job(RunDirectory(record.parent), stage).id, (record.parent, stage)


def _is_table(name: str, study: Study) -> bool:
    """Whether it is the id that `evaluate.mirror` gives this study's tables."""
    return re.fullmatch(re.escape(study.name) + "-[0-9a-f]{16}", name) is not None


def _file(folder: Path) -> Path:
    return folder / f"run-{_parts(folder)['id']}.wandb"


def _holds(folder: Path) -> bool:
    """Whether there is anything in it to be uploaded: its node may have died at once."""
    return _file(folder).is_file() and _size(folder) > HEADER


def _size(folder: Path) -> int:
    return _file(folder).stat().st_size


def _age(folder: Path) -> tuple[int, str]:
    """What grows with time. The name is of a node's local clock, which may be put back."""
    return _file(folder).stat().st_mtime_ns, _parts(folder)["begun"]


def _is_closed(folder: Path) -> bool:
    return (folder / CLOSED).is_file()


def _marker(folder: Path) -> Path:
    """wandb's own: `wandb sync` writes it, and leaves alone what has it."""
    return Path(f"{_file(folder)}.synced")


def _is_marked(folder: Path, online: list[Path]) -> bool:
    """Whether it was uploaded, and nothing was logged afterwards: to itself, or `online`, which
    has taken its place on the server."""
    marker = _marker(folder)
    logged = max(_file(of).stat().st_mtime for of in (folder, *online))
    return marker.is_file() and marker.stat().st_mtime >= logged


def _login() -> None:
    """RunFailed where there is no key that the server takes, or no server."""
    try:
        _, said = _ask([sys.executable, "-c", LOGIN], LOGIN_TIMEOUT)
        found = re.search(r"^login: (.*)", said, re.MULTILINE)
        trouble = found[1] if found else f"wandb does not work ({said.strip()[-200:]})"
    except subprocess.TimeoutExpired:
        trouble = f"no answer within {LOGIN_TIMEOUT:g} s"
    if trouble != "done":
        raise RunFailed(f"wandb: {trouble.rstrip('.')}; nothing was uploaded")


def _upload(run: Logged) -> tuple[str, str]:
    """State and words of what came of it. wandb marks what it could not upload, too."""
    folder = run.fullest
    size = _size(folder)
    words = [sys.executable, "-m", "wandb", "sync", "--include-synced", str(folder.absolute())]
    _marker(folder).unlink(missing_ok=True)
    try:
        status, said = _ask(words, UPLOAD_TIMEOUT)
    except subprocess.TimeoutExpired:
        status, said = 1, f"wandb: ERROR not done within {UPLOAD_TIMEOUT:g} s"
    errors = re.findall(r"^(?:wandb: ERROR|Error:) (.*)", said, re.MULTILINE)
    if status or errors or not _marker(folder).is_file():
        _marker(folder).unlink(missing_ok=True)
        return "failed", f"failed: {errors[-1] if errors else 'wandb sync did not end well'}"
    if _size(folder) != size:
        _marker(folder).unlink(missing_ok=True)
        return "running", "still written to; sync it again afterwards"
    # All that is in them is in this one: a plain `wandb sync` is not to put them over it.
    for superseded in set(run.folders) - {folder}:
        _marker(superseded).touch()
    url = re.search(r" at (https?://\S+)", said)
    return "uploaded", f"synced, {url[1]}" if url else "synced"


def _ask(words: list[str], timeout: float) -> tuple[int, str]:
    """Status and words of a command of wandb's, which leaves nothing behind and asks nobody."""
    environment = {key: value for key, value in os.environ.items() if key not in UNSET}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as aside:
        places = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "TMPDIR")
        environment |= dict.fromkeys(places, aside) | {"WANDB_ERROR_REPORTING": "false"}
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=timeout)
        finally:
            # wandb's service, too.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, said


def _sum(counts: Counter[str]) -> str:
    """`12 runs synced, 3 up to date, 1 still running`."""
    words = {
        "uploaded": "synced",
        "new": "to sync",
        "synced": "up to date",
        "running": "still running",
        "failed": "failed",
    }
    parts = [(counts[state], word) for state, word in words.items() if counts[state]]
    (first, word), *rest = parts
    runs = "run" if first == 1 else "runs"
    return ", ".join([f"{first} {runs} {word}", *(f"{count} {word}" for count, word in rest)])
