"""The one error that a user is meant to see, and how a command ends on it."""

import os
import signal
import sys
from collections.abc import Callable


class StudyError(Exception):
    """Bad input: one line that says what is wrong, where, and what would be right."""

    status = 2


class RunFailed(StudyError):
    """The input was right, the work itself failed (a loss that is not finite, say)."""

    status = 1


class Stopped(BaseException):
    """A cluster's signal ended the work in order; the same command goes on.

    Like KeyboardInterrupt it is no Exception: nothing that handles failures may take it for one.
    """

    # EX_TEMPFAIL of sysexits.h: try again later.
    status = 75

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on")


def one_line(error: BaseException) -> str:
    """The error's message with every run of white space, line breaks included, made one space."""
    return " ".join(str(error).split()) or type(error).__name__


def describe_os_error(error: OSError) -> str:
    """`[Errno 13] Permission denied: 'x'` as `x: Permission denied`."""
    what = error.strerror or one_line(error)
    return f"{error.filename}: {what}" if error.filename else what


def run_command(name: str, main: Callable[[], int | None]) -> None:
    """Run `main` and leave the process with its status; errors become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that has no β or ± gets a question mark, not a traceback.
        stream.reconfigure(errors="replace")
    try:
        status = main() or 0
        sys.stdout.flush()
    except StudyError as error:
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        status = error.status
    except ModuleNotFoundError as error:
        print(
            f"{name}: the package '{error.name}' is not installed for {sys.executable}; "
            f"'make setup' installs everything into .venv: use .venv/bin/python",
            file=sys.stderr,
        )
        status = StudyError.status
    except BrokenPipeError:
        # The reader (`| head`) went away; Python would complain again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        print(f"{name}: {describe_os_error(error)}", file=sys.stderr)
        status = StudyError.status
    except Stopped as stopped:
        print(f"{name}: {stopped}", file=sys.stderr)
        status = stopped.status
    except KeyboardInterrupt as interrupted:
        print(f"{name}: {str(interrupted) or 'interrupted'}", file=sys.stderr)
        status = 130
    sys.exit(status)
