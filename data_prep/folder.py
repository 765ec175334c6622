"""Data set folders that are there whole or not at all: made aside, renamed into place.

That holds on every file system, also for two processes at once, since each makes its own folder
aside and a rename takes place or does not. The lock (`study.lock`) spares the second its work.
"""

import contextlib
import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import StudyError
from study.owner import runs

# How a rename ends where another process's rename came between.
OVERTAKEN = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)


def _aside(folder: Path, what: str) -> Path:
    # Host and process in the name: whoever finds it can tell whether its maker still runs.
    return folder.with_name(f".{folder.name}.{what}-{platform.node()}-{os.getpid()}")


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
        if process != os.getpid() and runs(process):
            continue
        if kind == "replaced" and not (out / name).exists():
            # Killed between two renames: the old data set is the only one. Another process may be
            # at the same.
            with contextlib.suppress(FileNotFoundError):
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
        if error.filename is None or str(partial) in str(error.filename):
            # A full disk, for one, does not say where; and what lies aside is soon gone.
            error.filename = str(folder)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_into_place(partial: Path, folder: Path) -> None:
    """Rename `partial` to `folder`; what stands there is moved aside first and then deleted.

    StudyError where another process put its own there in between: that one stays, whole.
    """
    old = _aside(folder, "replaced")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            folder.rename(old)
        partial.rename(folder)
    except BaseException as error:
        if old.exists():
            # Fails where another's stands there by now.
            with contextlib.suppress(OSError):
                old.rename(folder)
        if isinstance(error, OSError) and error.errno in OVERTAKEN:
            raise StudyError(
                f"{folder}: another process was at work there; look at what it made, then start "
                f"again"
            ) from None
        raise
    finally:
        if old.exists() and folder.exists():
            _remove(old)
