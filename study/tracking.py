"""Weights & Biases as a mirror of a run directory: files of the run stay the truth.

Nothing that wandb does may cost a run: it works in a process of its own (`study.wandb_process`),
never prompts, is waited for a bounded time, and whatever goes wrong there is one line on stderr.
Its files lie in `wandb/` of the run directory, unless `WANDB_DIR` says otherwise.
"""

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from study.errors import one_line
from study.progress import say
from study.provenance import ROOT
from study.rundir import RunDirectory
from study.schema import validate
from study.schema_files import Tracking

Stage = Literal["train", "evaluate", "tables"]
Cell = str | float | int | None
# Seconds that a server may take to answer at the start, and to take the rest in at the end.
INIT_TIMEOUT = 30.0
FINISH_TIMEOUT = 60.0
# And what may come on top: imports, a table on a slow disk.
GRACE = 30.0
# wandb's words for its modes, old ones included.
MODES = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}
# The sections of a history line.
SPLITS = ("train", "eval")
# wandb takes no longer names.
LONGEST_NAME = 128


@dataclass(frozen=True)
class Job:
    """One run in wandb: what it is called and where its files go."""

    tracking: Tracking
    stage: Stage
    folder: Path
    # Of the same work again the same: what is logged twice belongs to one run.
    id: str
    name: str
    # Where the config names none.
    project: str
    config: dict[str, Any]

    @property
    def of_study(self) -> bool:
        """Whether it is a study's, whose command uploads the right one of several folders."""
        a_run = self.folder.name.startswith("seed-") and self.tracking.group is not None
        return self.stage == "tables" or a_run

    def settings(self) -> dict[str, Any]:
        """Arguments of `wandb.init`; project and group may come from wandb's variables."""
        how = self.tracking
        evaluation = None if self.stage == "train" else how.evaluation_project
        project = evaluation or how.project or os.environ.get("WANDB_PROJECT") or self.project
        return {
            # No `resume`: what is logged under an id is all of it, from the beginning, and takes
            # the place of what a server has. A resumed run would be put after that once more.
            "id": self.id,
            "project": project,
            "entity": how.entity,
            "group": how.group,
            "job_type": self.stage,
            "name": (how.name or self.name)[-LONGEST_NAME:],
            "tags": how.tags,
            "notes": how.notes,
            "config": self.config,
        }


def identifier(*parts: str) -> str:
    """A run id of wandb's that follows from `parts`."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def run_job(directory: RunDirectory, stage: Stage, known: str | None = None) -> Job:
    """The job of a stage on a run directory; everything about it stands in `run.json`.

    `known`: the id that it has had already, of which a checkpoint knows.
    """
    record = directory.read()
    config = dict(record["config"])
    tracking = validate(Tracking, config.pop("tracking", {}), f"{directory.record}: tracking")
    parts = directory.path.resolve().parts
    name = "/".join(parts[-2:] if parts[-1].startswith("seed-") else parts[-1:])
    about = {key: record.get(key) for key in ("data", "parameters", "code", "versions")}
    # When and where training began tells runs of one name apart; `run.json` keeps it.
    host = str(record.get("machine", {}).get("host"))
    begun = known or identifier(stage, name, str(record.get("started")), host)
    return Job(
        tracking, stage, directory.path, begun, name, config["dataset"], config | {"run": about}
    )


def mode_of(tracking: Tracking) -> str:
    """`off`, `offline` or `online`: `WANDB_MODE` overrules the config."""
    asked = os.environ.get("WANDB_MODE", "")
    if not asked:
        return tracking.mode
    if asked not in MODES:
        Tracker.warn(f"WANDB_MODE={asked} is not one of {', '.join(MODES)}; nothing is tracked")
    return MODES.get(asked, "off")


class Tracker:
    """Logs one job to wandb, or does nothing where tracking is off or failed.

    A context manager; leaving it ends the run in wandb, as failed where an exception leaves it.
    """

    # One line for each kind of trouble in a process, however many runs meet it.
    _said: ClassVar[set[str]] = set()
    # Set where a server did not answer: the next run need not wait for it again.
    _unreachable: ClassVar[bool] = False

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process: subprocess.Popen[bytes] | None = None
        # Whether an exception ended the work: it may go on, in another folder of wandb's.
        self.stopped = False
        mode = mode_of(job.tracking)
        if mode != "off":
            self._start("offline" if self._unreachable else mode)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self.stopped = kind is not None
        self._send("end", exit_code=1 if kind else 0)
        if self.process is not None:
            self._finish(self.process)

    def log_epoch(self, line: dict[str, Any]) -> None:
        """One line of `history.jsonl`: `train` and `eval` terms as `train/<term>`, `eval/<term>`,
        the rest by its own name, all against `epoch`. In order: a run that goes on from a
        checkpoint logs the lines before it first, so that its newest folder is the whole run."""
        flat: dict[str, Any] = {}
        for key, value in line.items():
            flat |= {f"{key}/{k}": v for k, v in value.items()} if key in SPLITS else {key: value}
        self._send("log", values=flat, step=line["epoch"])

    def log_values(self, values: dict[str, Any]) -> None:
        """Numbers by name; the last of each name stands in the run's summary."""
        self._send("log", values=values)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A table; None is an empty cell."""
        self._send("table", name=name, columns=list(columns), rows=[list(row) for row in rows])

    def log_images(self, files: dict[str, Path]) -> None:
        """Picture files by name."""
        self._send("images", files={name: str(file.absolute()) for name, file in files.items()})

    @classmethod
    def warn(cls, line: str, kind: str | None = None) -> None:
        """Say a line on stderr, the first time in this process (the first of its `kind`)."""
        if (kind or line) not in cls._said:
            cls._said.add(kind or line)
            say(f"wandb: {line}")

    def _start(self, mode: str) -> None:
        root = Path(os.environ.get("WANDB_DIR") or self.job.folder).absolute()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "study.wandb_process"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # An interrupt from the keyboard is this process's to handle.
                start_new_session=True,
            )
        except OSError as error:
            self.warn(f"{one_line(error)}; the work goes on without it")
            return
        assert self.process.stdin
        os.set_blocking(self.process.stdin.fileno(), False)
        timeouts = [INIT_TIMEOUT, FINISH_TIMEOUT]
        self._send("begin", root=str(root), mode=mode, timeouts=timeouts, job=self.job.settings())

    def _send(self, act: str, **what: Any) -> None:
        """Hand a message over; where it is not taken, what is wrong is said and tracking ends."""
        if self.process is None:
            return
        assert self.process.stdin
        pipe = self.process.stdin.fileno()
        data = (json.dumps({"do": act, **what}) + "\n").encode()
        # Not select(), which takes no descriptor from 1,024 on.
        ready = select.poll()
        ready.register(pipe, select.POLLOUT)
        try:
            while data:
                if not ready.poll(1000 * GRACE):
                    self.process.kill()
                    raise TimeoutError
                data = data[os.write(pipe, data) :]
        except OSError:
            self._finish(self.process)

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the answer, for a bounded time, and say it."""
        self.process = None
        assert process.stdin and process.stdout
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(INIT_TIMEOUT + FINISH_TIMEOUT + GRACE)
            answer = json.loads(process.stdout.read())
        except (subprocess.TimeoutExpired, ValueError):
            ended = process.returncode == -signal.SIGTERM
            answer = {"stopped": True} if ended else {"trouble": "its process hung or was killed"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
        process.wait()
        self._say(answer)

    def _say(self, answer: dict[str, Any]) -> None:
        if trouble := answer.get("trouble"):
            kind = trouble.split(":")[0]
            self.warn(f"{trouble}; the work went on without it", kind)
            return
        what = f"{self.job.stage} {self.job.settings()['name']}"
        if answer.get("stopped"):
            say(f"wandb: {what}: ended with the job")
            return
        if refused := answer["refused"]:
            Tracker._unreachable = True
            self.warn(f"not online ({refused}); tracked offline", "not online")
        elif answer["url"]:
            say(f"wandb: {what}: {answer['url']}")
            return
        folder, here = Path(answer["folder"]), Path.cwd()
        shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
        if self.job.of_study:
            say(f"wandb: {what}: tracked; 'python -m slurm --sync STUDY' uploads it")
        elif self.stopped:
            say(f"wandb: {what}: tracked up to here in {shown}")
        else:
            say(f"wandb: {what}: 'wandb sync {shown}' uploads it")
