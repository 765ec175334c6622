"""Progress bars on a terminal, silence elsewhere (a log file needs no carriage returns)."""

import sys

from tqdm import tqdm


def progress(total: int, what: str, unit: str = "it") -> tqdm:
    """A bar of `total` steps on stderr; call its `update(n)`, use it as a context manager."""
    return tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty(), leave=False)


def say(message: str) -> None:
    """One line of what goes on, on stderr: it leaves stdout to results."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()
