"""`python -m train.prune FOLDER...`: free the disk of what finished runs need no more."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from study.cli import Parser
from study.errors import RunFailed, StudyError, one_line, run_command
from study.lock import Busy, is_held, locked
from study.rundir import RunDirectory

KEEP = ("best", "last", "all")
LAST = ("last_model.pt",)
CHECKPOINT, BEFORE = ("checkpoint.pt",), ("checkpoint.previous.pt",)
# What each `engine.keep` takes away from a finished run: these and no others.
TAKEN = {"best": LAST + CHECKPOINT + BEFORE, "last": CHECKPOINT + BEFORE, "all": BEFORE}
# Pythae's own, of `trainer.steps_saving`: asked for, so only `best` takes them.
PYTHAES_CHECKPOINT = re.compile(r"checkpoint_epoch_\d+")


def prune_run(directory: RunDirectory, keep: str, dry_run: bool = False) -> int:
    """Delete from a finished run what `keep` (best, last or all) does not keep; the bytes freed.

    `final_model` always stays, and so does whatever a run has not made itself: other names, and
    links, which are somebody's own arrangement. StudyError where the run has not finished: its
    checkpoint is what it goes on from. Whoever calls holds the directory's lock (`study.lock`).
    With `dry_run` nothing is deleted.
    """
    if not directory.trained:
        raise StudyError(f"{directory.path}: not finished; its checkpoint is what it goes on from")
    freed = 0
    for entry in _superfluous(directory.path, keep):
        freed += _size(entry)
        if not dry_run:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return freed


def _superfluous(folder: Path, keep: str) -> Iterator[Path]:
    for name in TAKEN[keep]:
        # With the half that a killed writing of it left.
        for entry in (folder / name, folder / f".{name}.partial"):
            if entry.is_file() and not entry.is_symlink():
                yield entry
    if keep == "best":
        for entry in sorted(folder.iterdir()):
            named = PYTHAES_CHECKPOINT.fullmatch(entry.name)
            if named and entry.is_dir() and not entry.is_symlink():
                yield entry


def _size(entry: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not entry.is_dir():
        return entry.stat().st_size
    return sum(os.lstat(Path(at, f)).st_size for at, _, files in os.walk(entry) for f in files)


def run_directories(folder: Path) -> list[RunDirectory]:
    """The run directories at or below `folder`, in order of their paths; links are not followed.

    StudyError where the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder")
    found = []
    for at, inner, files in os.walk(folder, onerror=_unreadable):
        if "run.json" in files:
            found.append(RunDirectory(Path(at)))
            inner.clear()  # what lies in a run directory is the run's
        inner.sort()
    if not found:
        raise StudyError(f"{folder}: no run directory at or below it (none has a run.json)")
    return found


def _unreadable(error: OSError) -> None:
    raise error


def kept_by(directory: RunDirectory) -> str:
    """`engine.keep` of the run; StudyError where its `run.json` cannot be read."""
    from study.schema import validate
    from study.schema_training import Engine

    config = directory.read().get("config")
    engine = config.get("engine", {}) if isinstance(config, dict) else None
    if not isinstance(engine, dict):
        raise StudyError(f"{directory.record}: config.engine: an object is wanted")
    # This key alone: another of its keys may be of a version to come.
    keep = {key: value for key, value in engine.items() if key == "keep"}
    return validate(Engine, keep, f"{directory.record}: config.engine").keep


def _prune(directory: RunDirectory, keep: str | None, dry_run: bool) -> int:
    """The bytes freed; StudyError where the run is one to leave alone."""
    own = kept_by(directory)  # read even where `keep` is given: it shows that the run is ours
    keep = keep or own
    if dry_run:
        if is_held(directory.path):
            raise Busy(f"{directory.path}: another process is at work there")
        return prune_run(directory, keep, dry_run)
    with locked(directory.path):
        return prune_run(directory, keep)


def parser() -> Parser:
    """The command line of `python -m train.prune`."""
    made = Parser(
        prog="python -m train.prune",
        description="Delete from finished runs what engine.keep does not keep (checkpoints: "
        "weights and optimizer states, hundreds of MB a run). final_model always stays.",
    )
    made.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="a run directory, or a folder with run directories at any depth, such as runs",
    )
    made.add_argument(
        "--keep",
        choices=KEEP,
        help="in place of each run's engine.keep: the best model; the last one, too; everything",
    )
    made.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")
    return made


def main() -> int:
    arguments = parser().parse_args()
    # All of them before the first is touched: a mistyped folder costs nothing.
    found = {
        run.path.resolve(): run for folder in arguments.folders for run in run_directories(folder)
    }
    verb = "would be freed" if arguments.dry_run else "freed"
    total, damaged = 0, 0
    for directory in found.values():
        try:
            freed = _prune(directory, arguments.keep, arguments.dry_run)
        except StudyError as error:
            damaged += directory.trained and not isinstance(error, Busy)
            reason = one_line(error).removeprefix(f"{directory.path}: ")
            print(f"{directory.path}: left alone: {reason}")
            continue
        total += freed
        print(f"{directory.path}: {freed / 1e6:,.1f} MB {verb}")
    print(f"{len(found)} run{'s' * (len(found) != 1)}: {total / 1e6:,.1f} MB {verb}")
    if damaged:
        raise RunFailed(f"{damaged} of {len(found)} run directories could not be read, see above")
    return 0


if __name__ == "__main__":
    run_command("train.prune", main)
