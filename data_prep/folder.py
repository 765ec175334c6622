"""Data set folders that are there whole or not at all: made aside, renamed into place."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _aside(folder: Path, what: str) -> Path:
    # Host and process in the name: whoever finds it can tell whether its maker still runs.
    return folder.with_name(f".{folder.name}.{what}-{platform.node()}-{os.getpid()}")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        # Best effort: in a shared folder it may be another user's.
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(out: Path) -> None:
    """Remove what killed preparations of this host left in `out`."""
    host = re.escape(platform.node())
    ours = re.compile(rf"\.(.+)\.(partial|replaced)-{host}-([0-9]+)")
    for entry in list(out.iterdir()):
        found = ours.fullmatch(entry.name)
        if not found:
            continue
        name, kind, process = found[1], found[2], int(found[3])
        # A folder with this process's own number is of an earlier one that had the number.
        if process != os.getpid() and _runs(process):
            continue
        if kind == "replaced" and not (out / name).exists():
            # Killed between two renames: the old data set is the only one.
            entry.rename(out / name)
        else:
            _remove(entry)


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder beside `folder`, gone after the block unless it was put into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    partial = _aside(folder, "partial")
    partial.mkdir()
    try:
        yield partial
    except OSError as error:
        if error.filename is None:
            # A full disk, for one, does not say where.
            error.filename = str(partial)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_into_place(partial: Path, folder: Path) -> None:
    """Rename `partial` to `folder`; what stands there is moved aside first and then deleted."""
    if not folder.is_dir() or not any(folder.iterdir()):
        partial.rename(folder)
        return
    old = _aside(folder, "replaced")
    folder.rename(old)
    try:
        partial.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    _remove(old)
