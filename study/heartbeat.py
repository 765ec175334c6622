"""The heartbeat of a lock's owner, by which processes on other machines know that it lives."""

import os
import threading
from pathlib import Path

from study.errors import Stopped
from study.owner import look

# Seconds between two beats.
INTERVAL = 20.0


class Heartbeat(threading.Thread):
    """Renews the time of a lock's file, and ends the process where the lock is another's by now.

    That happens to a process that was stopped, or cut off, for longer than others wait: they took
    it for gone. It must not write another byte where they are at work. A thread of its own, since
    a step of training may take minutes; a process that is forked off has no such thread.
    """

    def __init__(self, file: Path, folder: Path, token: str, descriptor: int) -> None:
        super().__init__(name=f"heartbeat of {folder.name}", daemon=True)
        self._file, self._folder = file, folder
        self._token, self._descriptor = token, descriptor
        self._over = threading.Event()

    def stop(self) -> None:
        """No further beat counts; to be called before the lock's file is removed."""
        self._over.set()

    def run(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                seen = look(self._file)
                if seen is not None and seen.token == self._token:
                    os.utime(self._descriptor)
                    continue
            except OSError:
                continue  # a file server that is away, say: nobody can have taken the lock there
            # Asked again: what is missing may have been removed by this process, just now.
            if not self._over.is_set():
                self._give_up()

    def _give_up(self) -> None:
        line = (
            f"{self._folder}: another process took over while this one was out of reach; stopped "
            f"without writing anything more\n"
        )
        # Neither Python's streams nor its way out, which wait for other threads and write.
        try:
            os.write(2, line.encode(errors="replace"))
        finally:
            os._exit(Stopped.status)
