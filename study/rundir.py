"""A run directory: `runs/<study>/<run>/seed-<n>/`, named by what it is, never by the hour."""

import shutil
import traceback
from pathlib import Path
from typing import Any

from study.errors import StudyError, one_line
from study.files import write_json
from study.jsonfile import read_json_object
from study.overrides import flatten

FORMAT = 1
EVALUATION = "config.evaluation"


class AnotherRun(StudyError):
    """The directory belongs to a run with another config or other data."""


class RunDirectory:
    """Paths and state of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.record = self.path / "run.json"
        self.history = self.path / "history.jsonl"
        self.final_model = self.path / "final_model"
        self.metrics = self.path / "metrics.json"
        self.per_image = self.path / "per_image.npz"
        self.pictures = self.path / "pictures.npz"
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

    def evaluated(self, split: str) -> bool:
        """Whether `metrics.json` holds this split: it is written after everything else."""
        return self.metrics.is_file() and split in read_json_object(self.metrics)["splits"]

    def begin(self, identity: dict[str, Any], about: dict[str, Any], overwrite: bool) -> bool:
        """Make the directory ready for training; False when a finished run is there already.

        `identity` (config and data hashes) decides whether the run there is this one: another
        is refused, naming the differences, unless `overwrite`. A run that was stopped is
        cleared away and starts from zero. Another `evaluation` is no other run: it is taken
        over, and what was measured under the old one is dropped. `about` (versions, machine,
        time) is only recorded.
        """
        if self.record.is_file() and not overwrite:
            self._refuse_another(identity)
            if self.trained:
                self._take_evaluation(identity)
                return False
        elif not self.record.is_file() and self._has_foreign_files():
            raise StudyError(f"{self.path}: not empty and no run directory; choose another --out")
        self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.record, {"format": FORMAT} | identity | about)
        return True

    def _has_foreign_files(self) -> bool:
        # What a killed process of ours was writing aside is not foreign.
        return self.path.is_dir() and any(
            not (entry.name.startswith(".") and ".partial" in entry.name)
            for entry in self.path.iterdir()
        )

    def _clear(self) -> None:
        """Empty the directory, `run.json` last: cut at any point, it stays a run directory."""
        if not self.path.is_dir():
            return
        if self.trained:
            # Half a final_model must not pass for a whole one.
            self.final_model.rename(self.path / ".final_model.partial-discarded")
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.record:
                entry.unlink()
        self.record.unlink(missing_ok=True)

    def note_failure(self, stage: str, error: Exception) -> None:
        """Write `failure.json`: the stage, one line, and the traceback for whoever mends it.

        Only in a run directory: where another run or foreign files lie, nothing is written.
        """
        if self.record.is_file() and not isinstance(error, AnotherRun):
            trace = "".join(traceback.format_exception(error))
            write_json(self.failure, {"stage": stage, "error": one_line(error), "traceback": trace})

    def failed_stage(self) -> str | None:
        """The stage that failed last in this directory; None where none did."""
        return read_json_object(self.failure)["stage"] if self.failure.is_file() else None

    def _take_evaluation(self, identity: dict[str, Any]) -> None:
        record = self.read()
        if record["config"]["evaluation"] != identity["config"]["evaluation"]:
            for stale in (self.metrics, self.per_image, self.pictures):
                stale.unlink(missing_ok=True)
            record["config"]["evaluation"] = identity["config"]["evaluation"]
            write_json(self.record, record)

    def _refuse_another(self, identity: dict[str, Any]) -> None:
        there = self.read()
        old = flatten({key: there.get(key) for key in identity})
        new = flatten(identity)
        keys = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        keys = [key for key in keys if not key.startswith(EVALUATION)]
        if keys:
            key = min(keys)
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise AnotherRun(
                f"{self.path}: holds another run: {key} is {old.get(key)!r} there, "
                f"{new.get(key)!r} now{more}; choose another --out, or --overwrite it"
            )
