"""A run directory: `runs/<study>/<run>/seed-<n>/`, named by what it is, never by the hour."""

import fnmatch
import shutil
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.errors import StudyError, one_line
from study.files import write_json
from study.identity import differences, taken_over
from study.jsonfile import read_json_object
from study.lock import Busy

FORMAT = 1
# Of metrics.json, and of how its numbers come about. An older one is not read: its run is measured
# anew.
METRICS_FORMAT = 4
# What a run leaves in its directory, run.json apart: the only things that are ever deleted there.
LEFT_BY_A_RUN = (
    "history.jsonl",
    "final_model",
    "last_model.pt",
    "checkpoint.pt",
    "checkpoint.previous.pt",
    "not_finite.json",
    "finished.json",
    "failure.json",
    "checkpoint_epoch_*",
    "metrics.json",
    "per_image.npz",
    "pictures.npz",
    "latents.npz",
    "reconstructions.png",
    "generations.png",
    "neighbours.png",
    "wandb",
    ".*.partial",
)


def is_ours(entry: Path, aside_only: bool = False) -> bool:
    """Whether a run (or, `aside_only`, a killed writing) left this entry of its directory."""
    patterns = LEFT_BY_A_RUN[-1:] if aside_only else LEFT_BY_A_RUN
    return any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns)


class AnotherRun(StudyError):
    """The directory belongs to a run with another config or other data."""


class Measured:
    """What evaluation leaves in a directory, be it a run's or a reference row's."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.metrics = self.path / "metrics.json"
        self.per_image = self.path / "per_image.npz"
        self.pictures = self.path / "pictures.npz"
        self.latents = self.path / "latents.npz"

    def measured_splits(self) -> dict[str, Any]:
        """The entries of `metrics.json` by split; none where it is missing or of an old format."""
        found = read_json_object(self.metrics) if self.metrics.is_file() else {}
        return found["splits"] if found.get("format") == METRICS_FORMAT else {}

    def evaluated(self, split: str) -> bool:
        """Whether `metrics.json` holds this split: it is written after everything else."""
        return split in self.measured_splits()


class ReferenceDirectory(Measured):
    """Of a row that no model was trained for: `runs/<study>/references/<name>/`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.record = self.path / "reference.json"


class RunDirectory(Measured):
    """Paths and state of one run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.record = self.path / "run.json"
        self.history = self.path / "history.jsonl"
        self.final_model = self.path / "final_model"
        self.last_model = self.path / "last_model.pt"
        self.checkpoint = self.path / "checkpoint.pt"
        self.checkpoint_before = self.path / "checkpoint.previous.pt"
        self.not_finite = self.path / "not_finite.json"
        self.finished = self.path / "finished.json"
        self.failure = self.path / "failure.json"

    def read(self) -> dict[str, Any]:
        """`run.json`; StudyError where this is no run directory."""
        if not self.record.is_file():
            raise StudyError(f"{self.path}: no run directory (run.json is missing)")
        record = read_json_object(self.record)
        if record.get("format") != FORMAT:
            raise StudyError(
                f"{self.record}: format {record.get('format')!r}, this version reads {FORMAT}"
            )
        return record

    @property
    def trained(self) -> bool:
        """Whether training ran to its end: `final_model` is renamed into place last."""
        return self.final_model.is_dir()

    @property
    def stopped(self) -> bool:
        """Whether training was stopped and has a checkpoint to go on from."""
        there = self.checkpoint.is_file() or self.checkpoint_before.is_file()
        return there and not self.trained

    def begin(self, identity: dict[str, Any], about: dict[str, Any], overwrite: bool) -> bool:
        """Make the directory ready for training; False when a finished run is there already.

        `identity` (config and data hashes) decides whether the run there is this one: another
        is refused, naming the differences, unless `overwrite`. That starts a finished run anew,
        too, but none that was stopped: a job that is put back into the queue goes on. A run that
        was stopped keeps its checkpoint and its record, and is cleared away where it has none.
        What changes no number is taken over, and what was measured under another `evaluation` is
        dropped. `about` (versions, machine, time) is only recorded, for a run that goes on under
        `resumed`.
        """
        there = self.record.is_file()
        anew = there and overwrite and (self.trained or differences(self.read(), identity, False))
        if there and not anew:
            self.take(identity)
            if self.trained:
                return False
            if self.stopped:
                record = self.read()
                for stale in (self.failure, self.not_finite):
                    stale.unlink(missing_ok=True)
                write_json(self.record, record | {"resumed": [*record.get("resumed", []), about]})
                return True
        self._refuse_foreign_files()
        self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.record, {"format": FORMAT} | identity | about)
        return True

    def _refuse_foreign_files(self) -> None:
        entries = list(self.path.iterdir()) if self.path.is_dir() else []
        if not self.record.is_file() and any(not is_ours(e, aside_only=True) for e in entries):
            raise StudyError(f"{self.path}: not empty and no run directory; choose another --out")
        strange = [e.name for e in entries if e != self.record and not is_ours(e)]
        if strange:
            raise StudyError(
                f"{self.path / strange[0]}: not of a run's making, and a run that starts anew "
                f"empties its directory; move it elsewhere"
            )

    def _clear(self) -> None:
        """Delete what a run left, `run.json` last: cut at any point, it stays a run directory."""
        if not self.path.is_dir():
            return
        if self.trained:
            # Half a final_model must not pass for a whole one.
            discarded = self.path / ".final_model.discarded.partial"
            shutil.rmtree(discarded, ignore_errors=True)
            self.final_model.rename(discarded)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.record:
                entry.unlink()
        self.record.unlink(missing_ok=True)

    def take(self, identity: dict[str, Any]) -> None:
        """Make sure that the run here is the one of `identity`; AnotherRun if it is not.

        What may change without its being another run is taken over, and what was measured under
        another `evaluation` dropped.
        """
        self.refuse_another(identity)
        record = self.read()
        old, new = record["config"], taken_over(record["config"], identity["config"])
        # Of the evaluation, all else being the same: a key that is only new is at its default.
        if differences(record, identity, evaluation=True):
            for stale in (self.metrics, self.per_image, self.pictures, self.latents):
                stale.unlink(missing_ok=True)
        if old != new:
            write_json(self.record, record | {"config": new})

    def epochs(self) -> int:
        """How many epochs of training are in `history.jsonl`."""
        if not self.history.is_file():
            return 0
        with open(self.history, "rb") as lines:
            return sum(line.endswith(b"\n") for line in lines)

    def note_failure(self, stage: str, error: Exception) -> None:
        """Write `failure.json`: the stage, one line, and the traceback for whoever mends it.

        Only in a run directory of one's own: where another run, another process or foreign files
        are, nothing is written.
        """
        if self.record.is_file() and not isinstance(error, AnotherRun | Busy):
            trace = "".join(traceback.format_exception(error))
            # A disk that is full is what failed the run, and may fail this, too.
            with suppress(OSError):
                write_json(
                    self.failure, {"stage": stage, "error": one_line(error), "traceback": trace}
                )

    def failed(self) -> tuple[str, str] | None:
        """The stage that failed last in this directory, and why; None where none did."""
        if not self.failure.is_file():
            return None
        noted = read_json_object(self.failure)
        return noted["stage"], noted["error"]

    def holds(self, identity: dict[str, Any]) -> bool:
        """Whether the run of `identity`, its evaluation included, is what this directory holds."""
        if not self.record.is_file():
            return False
        return not differences(self.read(), identity, evaluation=True)

    def refuse_another(self, identity: dict[str, Any]) -> None:
        """AnotherRun, naming what differs, unless `identity` is of the run here; evaluation and
        what changes no number apart."""
        found = differences(self.read(), identity, evaluation=False)
        if found:
            key, (old, new) = next(iter(found.items()))
            more = f" (and {len(found) - 1} more keys differ)" if len(found) > 1 else ""
            raise AnotherRun(
                f"{self.path}: holds another run: {key} is {old!r} there, {new!r} now{more}; "
                f"choose another folder, or delete this one (train has --overwrite)"
            )
