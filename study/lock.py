"""One process at a time in a run directory.

The lock is the kernel's (`flock`): it is gone with the process that held it, however that ended.
It holds between processes of one machine, and over a network where the file system carries it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import StudyError

# Tries before a folder counts as held: `is_held` holds it, too, for a moment.
_PATIENCE = 5


def lock_file(folder: Path) -> Path:
    """The file, beside `folder`, that is locked while a process is at work in it."""
    return folder.with_name(f".{folder.name}.lock")


class Busy(StudyError):
    """Another process is at work in the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` (which need not be there yet) for this process; Busy if another does.

    The lock is a file beside the folder, gone afterwards; one that a killed process left is free.
    """
    folder = Path(folder)
    file = lock_file(folder)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StudyError(f"{folder}: cannot be made: a file stands where a folder should") from None
    descriptor = _take(file, folder)
    try:
        yield
    finally:
        # Removed before it is let go, so that nobody can lock a file about to vanish and believe
        # to be alone: whoever opened it meanwhile finds below that the name means another file.
        file.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process is at work in `folder`; nothing is written."""
    try:
        descriptor = os.open(lock_file(Path(folder)), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks: nobody can hold anything there
        return False
    finally:
        os.close(descriptor)
    return False


def _take(file: Path, folder: Path) -> int:
    patience = _PATIENCE
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(file).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            if patience <= 0:
                os.close(descriptor)
                raise Busy(
                    f"{folder}: another process is at work there; wait for it, or stop it first"
                ) from None
            patience -= 1
            time.sleep(0.02)
        except FileNotFoundError:
            pass  # its owner removed it between the two lines above
        except OSError as error:
            os.close(descriptor)
            error.filename = str(file)  # a file system without locks, for one, does not say where
            raise
        os.close(descriptor)
