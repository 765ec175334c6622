"""Progress bars on a terminal, silence elsewhere (a log file needs no carriage returns)."""

import sys
from functools import cache

from tqdm import tqdm


def progress(total: int, what: str, unit: str = "it", done: int = 0) -> tqdm:
    """A bar of `total` steps on stderr, `done` of them long ago; call its `update(n)`, use it as a
    context manager."""
    silent = not sys.stderr.isatty()
    return tqdm(total=total, initial=done, desc=what, unit=unit, disable=silent, leave=False)


def say(message: str) -> None:
    """One line of what goes on, on stderr: it leaves stdout to results."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()


@cache
def say_once(message: str) -> None:
    """`say`, once a process."""
    say(message)
