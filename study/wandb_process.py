"""The process that talks to wandb: `python -m study.wandb_process`, started by `study.tracking`.

It reads messages from stdin, one JSON object a line, and answers with one on stdout when it ends:
`folder` and `url` of what was logged, `stopped`, or `trouble`. On its own, so that nothing in wandb
can hold up, change or end the process that trains; when that one is killed, stdin ends, and what
was logged up to then is written. wandb's own service cannot be kept from ending at once where a
cluster's SIGTERM reaches all processes of a job: what it was given is on the disk a second later.
"""

import json
import os
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from study.errors import describe_os_error, one_line

# Set unless the user has: quiet, and nothing outside of the folder. Without the last two tables
# go through the user's data folder and logs to the cache folder, which may be read-only or full.
QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
FOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "logs"}
# In the folder of a run that was logged to its end.
CLOSED = "closed"
# Seconds after which wandb's service writes out what it was given; its own default is 15.
FLUSH = 1.0
# And in which a signal that ended that service has reached this process, too.
SIGNALLED = 0.5


class Heard:
    """Whether a cluster said that the job has to go."""

    def __init__(self) -> None:
        self.stop = False

    def note(self, number: int, frame: Any) -> None:
        """SIGTERM's handler: this process ends when the one that trains has ended."""
        self.stop = True


class Mirror:
    """One run in wandb."""

    def __init__(self) -> None:
        self.run: Any = None
        # Why it is not online though asked to be.
        self.refused: str | None = None

    def begin(self, root: str, mode: str, timeouts: list[float], job: dict[str, Any]) -> None:
        """Start the run with its files in `root`/wandb; offline where online does not work."""
        files = Path(root) / "wandb"
        for name, folder in FOLDERS.items():
            os.environ.setdefault(name, str(files / folder))
        # wandb would turn to the temporary folder without a word.
        files.mkdir(parents=True, exist_ok=True)
        probe(files)
        import wandb

        settings = wandb.Settings(
            init_timeout=timeouts[0],
            finish_timeout=timeouts[1],
            finish_timeout_raises=True,
            silent=True,
            console="off",
            # Our own run.json has code, versions and machine; a node without network is not to
            # look for one, and a diff of the checkout is nobody's business.
            disable_git=True,
            disable_code=True,
            x_save_requirements=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_transaction_log_flush_interval=FLUSH,
        )
        if mode == "online":
            try:
                # Asks nobody: without credentials it is False.
                if not wandb.login(prompt=False):
                    raise RuntimeError("no API key: WANDB_API_KEY or 'wandb login' gives one")
                self.run = wandb.init(mode="online", dir=root, settings=settings, **job)
            except Exception as error:
                self.refused = one_line(error)
        if self.run is None:
            self.run = wandb.init(
                mode="offline", dir=root, settings=settings, reinit="create_new", **job
            )
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Numbers by name; an epoch is a step, so that nothing can make two of one."""
        self.run.log(values, step=step, commit=True)

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A table; None is an empty cell."""
        import wandb

        self.run.log({name: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

    def images(self, files: dict[str, str]) -> None:
        """Picture files by name."""
        import wandb

        self.run.log({name: wandb.Image(file) for name, file in files.items()})

    def end(self, exit_code: int, closed: bool = True) -> dict[str, Any]:
        """Close the run, marked as `closed` where it holds all that there was to log; where it is
        to be found."""
        folder, url = Path(self.run.dir).parent, self.run.url
        offline = self.run.offline
        self.run.finish(exit_code=exit_code)
        refuse_losses(folder)
        if closed:
            (folder / CLOSED).touch()
        return {"folder": str(folder), "url": None if offline else url, "refused": self.refused}


def probe(folder: Path) -> None:
    """OSError where `folder` takes no more data."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())


def refuse_losses(folder: Path) -> None:
    """OSError where wandb's service could not write what it was given.

    It says so in its log alone, which is on the same disk: hence the probe.
    """
    probe(folder)
    log = folder / "logs" / "debug-internal.log"
    if log.is_file() and "failed to save record" in log.read_text(errors="replace"):
        raise OSError(f"{folder}: what was logged could not all be written")


def received(stream: TextIO) -> Iterator[dict[str, Any]]:
    """Messages in order; read by a thread, so that whoever writes never waits for wandb."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while (line := lines.get()).endswith("\n"):
        yield json.loads(line)


def serve(stream: TextIO, heard: Heard) -> dict[str, Any]:
    """Do what the messages say; the answer."""
    mirror = Mirror()
    act = "begin"
    try:
        for message in received(stream):
            act = message.pop("do")
            if answer := getattr(mirror, act)(**message):
                return answer
        # No `end`: whoever wrote is dead.
        return mirror.end(1, closed=False)
    # Whatever it is: it has to be told.
    except Exception as error:
        # Not a full disk, say, which is to be told.
        if isinstance(error, ConnectionError) or not isinstance(error, OSError):
            time.sleep(SIGNALLED)
            if heard.stop:
                return {"stopped": True}
        said = describe_os_error(error) if isinstance(error, OSError) else one_line(error)
        return {"trouble": f"{type(error).__name__}: {said}"}


def main() -> None:
    heard = Heard()
    signal.signal(signal.SIGTERM, heard.note)
    # wandb's service inherits that.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # wandb and its service get neither stream: they print to both.
    messages, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ.update({key: QUIET[key] for key in QUIET.keys() - os.environ.keys()})
    # `Job.settings` says why no run is resumed.
    os.environ.pop("WANDB_RESUME", None)
    # wandb copies pictures and tables there first.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        answer = serve(messages, heard)
    with answers:
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
    # Not through wandb's own exit handler, which waits for a service that may hang; the service
    # ends when this process does.
    os._exit(0)
