"""One process at a time in a run directory, on whatever machine it is.

The lock is a file beside the directory that names its owner (study/owner.py) and on which the
kernel holds a lock (`flock`) where the file system can: that one is gone with its process, however
that ended, and is all that matters on one machine. Between nodes it holds on some file systems
only; there a heartbeat tells whether the owner lives (study/heartbeat.py).

The file changes in one step from one owner to the next, also without `flock`: whoever is to change
it creates the one file that is named after the owner it found (or found missing), the claim, which
only one process can; looks whether that owner still stands there; and renames its claim, with its
own name in it, over the lock. Tokens are never used twice, so neither are the claims.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from study import heartbeat
from study.errors import StudyError
from study.heartbeat import Heartbeat, Held
from study.owner import (
    STALE,
    Life,
    Owner,
    Seen,
    file_system_time,
    life,
    look,
    this_process,
    to_text,
    unnamed,
)
from study.progress import say

# Seconds for an earlier life of the same job to go, which SLURM has killed.
_LAST_GASP = 60.0
# Stands for the owner where there is none; as long as a token, so that a name that has no room for
# one is refused at the start.
_NOBODY = "0" * 16
# Seconds for one who was overtaken to find out, where it lives: its next heartbeat, and some more.
_TO_FIND_OUT = 1.25 * heartbeat.INTERVAL
# Seconds that taking a lock hardly ever takes.
_ASTONISHING = 5.0


def lock_file(folder: Path) -> Path:
    """The file, beside `folder`, that is there while a process is at work in it."""
    return folder.with_name(f".{folder.name}.lock")


class Busy(StudyError):
    """Another process is at work in the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` (which need not be there yet) for this process; Busy if another does.

    An earlier life of the same SLURM job, from before a requeue, is waited for, and has to yield.
    The lock is a file beside the folder, gone afterwards; one that a killed process left is free:
    at once on the same machine, two minutes after its last sign of life on another. A process that
    was taken for gone and is not ends with status 75 when it finds out; it is given the time to.
    """
    folder = Path(folder)
    file = lock_file(folder)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StudyError(f"{folder}: cannot be made: a file stands where a folder should") from None
    me = this_process()
    held, overtaken = _take(file, folder, me)
    beat = Heartbeat(file, folder, held, lambda: _claim(file, None, me))
    beat.start()
    try:
        _remove_leftovers(file)
        if overtaken is not None:
            _let_stop(overtaken, folder)
        yield
    finally:
        if os.getpid() == me.pid:  # not in a process that was forked off
            beat.stop()
            _release(file, beat.held)
        for descriptor in beat.held.descriptors:
            os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process is at work in `folder`; nothing is written.

    For want of a file of its own this goes by this host's clock where only the heartbeat tells:
    it is for people to read, and `locked` does not rely on it.
    """
    seen = look(lock_file(Path(folder)))
    if seen is None:
        return False
    return life(seen, this_process(), time.time) not in (Life.GONE, Life.SILENT)


def _take(file: Path, folder: Path, me: Owner) -> tuple[Held, Seen | None]:
    """The lock; and from whom it was taken, where that one may live and not know it yet."""
    began = time.monotonic()
    waiting = False
    while True:
        seen = look(file)
        found = Life.GONE if seen is None else life(seen, me, lambda: _time(file, me))
        if found is Life.AT_WORK:
            who = f" ({seen.owner})" if seen.owner else ""
            raise Busy(
                f"{folder}: another process is at work there{who}; wait for it, or stop it first"
            )
        if found is Life.EARLIER and _may_end(seen, me, began):
            if not waiting:
                say(f"{folder}: waiting for this job's own earlier process to end ({seen.owner})")
            waiting = True
            time.sleep(0.2)
            continue
        held = _claim(file, seen, me)
        if held is not None:
            return held, None if found is Life.GONE else seen
        if not waiting and time.monotonic() - began > _ASTONISHING:
            say(f"{folder}: waiting for another process that is taking or leaving it")
            waiting = True
        time.sleep(0.01)  # another was faster, or is just at it


def _let_stop(overtaken: Seen, folder: Path) -> None:
    """Until its next heartbeat at the latest the last owner would go on writing, where it lives."""
    who = f" ({overtaken.owner})" if overtaken.owner else ""
    say(
        f"{folder}: waits {_TO_FIND_OUT:.0f} seconds: its owner was overtaken and, should it live, "
        f"stops by then{who}"
    )
    time.sleep(_TO_FIND_OUT)


def _may_end(seen: Seen, me: Owner, began: float) -> bool:
    """Whether an earlier life is worth waiting for: one whose end will be seen."""
    visible = seen.flock or (seen.owner is not None and seen.owner.beside(me))
    return visible and time.monotonic() - began < _LAST_GASP


def _time(file: Path, me: Owner) -> float:
    return file_system_time(file, f"{file.name}.{me.token}")


def _claim_file(file: Path, token: str | None, turn: int) -> Path:
    # A claim whose owner died with it is passed over: the next one has another name.
    return file.with_name(f"{file.name}.{token or _NOBODY}" + (f".{turn}" if turn else ""))


def _open_new(claim: Path) -> int:
    return os.open(claim, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


def _claim(file: Path, found: Seen | None, me: Owner) -> Held | None:
    """The lock, taken in the place of its `found` owner (None: there was none); None where another
    process was faster."""
    token = found.token if found else None
    for turn in count():
        claim = _claim_file(file, token, turn)
        try:
            descriptor = _open_new(claim)
            break
        except FileExistsError:
            if not _abandoned(claim, file, me):
                return None
        except OSError as error:
            error.filename = str(file)
            raise
    held = None
    try:
        signed = _sign(claim, descriptor, me)
        if _token(file) == token and _put(claim, file, signed):
            for earlier in range(turn):
                _claim_file(file, token, earlier).unlink(missing_ok=True)
            # One that was passed over may have come to, and put its claim there until just now.
            if _token(file) == signed.token:
                held = signed
    finally:
        if held is None:
            os.close(descriptor)
            claim.unlink(missing_ok=True)
    return held


def _token(file: Path) -> str | None:
    there = look(file)
    return there.token if there else None


def _put(claim: Path, file: Path, signed: Held) -> bool:
    """Whether the claim is the lock now."""
    # It may have been passed over, by others who took this process for dead, and removed. Over NFS
    # the answer may also be to a second asking: what stands there is what counts.
    with contextlib.suppress(FileNotFoundError):
        os.replace(claim, file)
    return _token(file) == signed.token


def _sign(claim: Path, descriptor: int, me: Owner) -> Held:
    """Lock the claim where the file system can, and write into it whose it is."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        flock = True
    except OSError:
        flock = False
    try:
        # Opened once more, since what is written gets to a file server when a file is closed.
        with open(claim, "r+", encoding="utf-8") as file:
            file.write(to_text(replace(me, flock=flock)))
        return Held(me.token, (descriptor,))
    except OSError:
        # A full disk, which must not keep anybody from deleting what fills it.
        os.ftruncate(descriptor, 0)
        return Held(unnamed(os.fstat(descriptor)), (descriptor,))


def _abandoned(claim: Path, file: Path, me: Owner) -> bool:
    """Whether a claim, which takes a moment, is of a process that died in that moment."""
    try:
        made = claim.stat().st_mtime
    except FileNotFoundError:
        return False
    return _time(file, me) - made > STALE


def _remove_leftovers(file: Path) -> None:
    """Remove what processes left that died while they took a lock or asked for the time."""
    # Nothing else looks like that: another folder's lock has a name that ends otherwise.
    theirs = re.compile(rf"{re.escape(file.name)}\.([0-9a-f]{{16}}|inode-[0-9]+)(\.[0-9]+)?")
    with contextlib.suppress(OSError):
        now = file.stat().st_mtime  # taken just now
        for entry in file.parent.iterdir():
            # Best effort: in a shared folder it may be another user's.
            with contextlib.suppress(OSError):
                if theirs.fullmatch(entry.name) and now - entry.stat().st_mtime > STALE:
                    entry.unlink()


def _release(file: Path, held: Held) -> None:
    """Remove the lock, if it is still this process's own."""
    claim = _claim_file(file, held.token, 0)
    # Where that fails, with another that takes over or with the file server, the lock lies there
    # and is free: that must not make a failure of the work that is done.
    with contextlib.suppress(OSError):
        os.close(_open_new(claim))
        try:
            if _token(file) == held.token:
                file.unlink(missing_ok=True)
        finally:
            claim.unlink(missing_ok=True)
