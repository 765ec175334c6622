"""Being stopped by a signal: at once, or, in the middle of a step, when the step is over.

SIGTERM and SIGUSR1 are how a cluster says that a job has to go; Ctrl-C is a person's. Work that
must not be cut off runs under `deferred`, which holds the signal back until the work asks for it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from study.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stop:
    """A stop that was asked for and has not been acted on."""

    def __init__(self) -> None:
        self.deferring = False
        self.number: int | None = None

    @property
    def asked(self) -> bool:
        return self.number is not None

    def act(self) -> None:
        """Raise what the signal means: Stopped, or KeyboardInterrupt for Ctrl-C."""
        number, self.number = self.number, None
        if number == signal.SIGINT:
            goes_on = "; the same command goes on" if self.deferring else ""
            raise KeyboardInterrupt(f"interrupted{goes_on}")
        if number is not None:
            self._deaf()
            raise Stopped(number)

    def _deaf(self) -> None:
        """No further signal: it could only end with another status what is about to end."""
        for number in SIGNALS:
            if signal.getsignal(number) == self.hear:
                signal.signal(number, signal.SIG_IGN)

    def hear(self, number: int, frame: Any) -> None:
        """The signals' handler."""
        # A second Ctrl-C is somebody who will not wait. A cluster's signals come in pairs, and
        # the second must not cut off what the first began.
        impatient = self.asked and number == signal.SIGINT
        if not self.asked or impatient:
            self.number = number
        if impatient or not self.deferring:
            self.act()


_stop = Stop()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, the signals end the work by an exception; for the main thread."""
    before = {number: signal.signal(number, _stop.hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) == _stop.hear:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[Stop]:
    """Within the block a signal is only noted, for the block to look for and `act` on.

    One that nobody acted on takes effect when the block is left; where an exception leaves it,
    when whoever handles that calls `stop_if_asked`.
    """
    outer, _stop.deferring = _stop.deferring, True
    try:
        yield _stop
    finally:
        _stop.deferring = outer
    if not outer:
        _stop.act()


def stop_if_asked() -> None:
    """Act on a signal that work left by an exception did not get to."""
    _stop.act()
