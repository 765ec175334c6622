"""The heartbeat of a lock's owner, by which processes on other machines know that it lives."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from study.errors import Stopped
from study.owner import Seen, look

# Seconds between two beats.
INTERVAL = 20.0
# Looks in a row that find no lock and cannot put it back, before its owner gives up: fewer than it
# takes for the others, who may see it where this node's mount is away, to take the owner for gone.
_LOOKS = 4


@dataclass(frozen=True)
class Held:
    """A lock of this process."""

    token: str
    # Of the file, and of those that it was put in the place of: they may turn up again, and what
    # the kernel holds goes with them.
    descriptors: tuple[int, ...]


class Heartbeat(threading.Thread):
    """Renews the time of a lock's file, and ends the process where the lock is another's by now.

    That happens to a process that was stopped, or cut off, for longer than others wait: they took
    it for gone. It must not write another byte where they are at work. A thread of its own, since
    a step of training may take minutes; a process that is forked off has no such thread.

    A file that is missing (deleted as a hidden one that nobody knows, renamed away with the data
    set in whose folder it lay, or on a mount that is away for a moment) is put back by `put_back`.
    Where that cannot be, for want of the folder that it lay in, the process ends after a minute.
    """

    def __init__(
        self, file: Path, folder: Path, held: Held, put_back: Callable[[], Held | None]
    ) -> None:
        super().__init__(name=f"heartbeat of {folder.name}", daemon=True)
        self.held = held
        self._file, self._folder, self._put_back = file, folder, put_back
        self._over = threading.Event()
        # Of this thread where it acts on what it saw, and of the one that ends it.
        self._turn = threading.Lock()

    def start(self) -> None:
        """Start the thread, deaf to signals.

        The kernel gives a signal to any thread that takes it, and Python acts on it in the main
        one, which would sleep on where it waits for something.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """No further beat counts; to be called before the lock's file is removed."""
        with self._turn:
            self._over.set()

    def run(self) -> None:
        missed = 0
        while not self._over.wait(INTERVAL):
            try:
                seen = look(self._file)
                if seen is not None and seen.token == self.held.token:
                    # By its name: a descriptor may go stale for good when a file server comes back.
                    os.utime(self._file)
                    missed = 0
                    continue
            except FileNotFoundError:
                seen = None
            except OSError:
                continue  # a file server that is away, say: nobody can have taken the lock there
            with self._turn:
                # Asked again: what is missing may have been removed by this process, just now.
                if not self._over.is_set():
                    missed = self._lost(seen, missed)

    def _lost(self, seen: Seen | None, missed: int) -> int:
        """The lock is missing, or another's: what to do of it; how often it was missed by now."""
        if seen is not None:
            self._give_up("another process took over while this one was out of reach")
        try:
            again = self._put_back()
        except OSError:
            again = None
        if again is not None:
            self.held = replace(again, descriptors=self.held.descriptors + again.descriptors)
            return 0
        if missed + 1 == _LOOKS:
            self._give_up(f"its lock was removed ({self._file} cannot be made anew)")
        return missed + 1

    def _give_up(self, why: str) -> NoReturn:
        line = f"{self._folder}: {why}; stopped without writing anything more\n"
        # Neither Python's streams nor its way out, which wait for other threads and write.
        try:
            os.write(2, line.encode(errors="replace"))
        finally:
            os._exit(Stopped.status)
