"""What the runs of a study cost, and what is left of it: of each row one run is timed.

The seeds of a row cost the same. Where runs of a row are trained already, on this kind of machine
or, where this one has no GPU, on one kind of GPU, the time that they took stands in place of what
timed steps tell of training.
"""

import statistics
from dataclasses import dataclass
from typing import Any

from evaluate.run import up_to_date
from slurm.estimate_cell import Timed, timed
from study.datasets import Dataset
from study.expansion import Cell, Study
from study.identity import differences
from study.jsonfile import read_json_object
from study.progress import progress
from study.rundir import RunDirectory
from train.history import read_history
from train.run import run_identity

# What of a machine two runs must share for the time of one to be that of the other.
_KIND = ("processor", "threads", "gpu")


# Seconds that training took, and the machines that it was on.
Finished = tuple[float, list[dict[str, Any]]]


@dataclass(frozen=True)
class Row:
    """Runs of one name, one of them timed; `trained`: seconds that finished ones took, on `gpu`
    where that is not the machine of the timing."""

    name: str
    cells: tuple[Cell, ...]
    timed: Timed
    trained: tuple[float, ...]
    gpu: str | None = None

    @property
    def training(self) -> float:
        """Seconds of a run: measured, where that is known."""
        return statistics.median(self.trained) if self.trained else self.timed.training

    @property
    def seconds(self) -> float:
        """Of a run from the start of its job to its end."""
        return self.timed.start + self.training + self.timed.evaluation


@dataclass(frozen=True)
class Left:
    """What one run still wants: seconds of work, without the start of its job."""

    row: Row
    cell: Cell
    work: float

    @property
    def seconds(self) -> float:
        return self.row.timed.start + self.work if self.work else 0.0


def rows_of(study: Study, arguments: Any, dataset: Dataset, cells: list[Cell]) -> list[Row]:
    """The rows of `cells`, one run of each timed, with a bar.

    AnotherRun where a directory holds another run; StudyError or RunFailed, naming it, where a run
    cannot be timed.
    """
    by_name: dict[str, list[Cell]] = {}
    for cell in cells:
        directory = study.run_directory(arguments.runs, cell)
        if directory.record.is_file():
            directory.refuse_another(run_identity(cell.run, dataset))
        by_name.setdefault(cell.name, []).append(cell)
    rows = []
    with progress(len(by_name), f"time {study.name}", "run") as bar:
        for name, of_name in by_name.items():
            found = timed(study, of_name[0], dataset, arguments.runs, arguments.weights)
            # Seeds that were not chosen tell as much.
            finished = [_finished(study, one, arguments, dataset) for one in study.rows()[name]]
            measured = _measured([one for one in finished if one], found.machine)
            rows.append(Row(name, tuple(of_name), found, *measured))
            bar.update()
    return rows


def _finished(study: Study, cell: Cell, arguments: Any, dataset: Dataset) -> Finished | None:
    """What training took, where it is over."""
    directory = study.run_directory(arguments.runs, cell)
    if not directory.trained or not directory.finished.is_file():
        return None
    record = directory.read()
    if differences(record, run_identity(cell.run, dataset), evaluation=False):
        return None
    machines = [about["machine"] for about in (record, *record.get("resumed", []))]
    return read_json_object(directory.finished)["seconds"], machines


def _measured(
    finished: list[Finished], here: dict[str, Any]
) -> tuple[tuple[float, ...], str | None]:
    """Seconds of those that were on this kind of machine; or of all, and the name of the GPU that
    all were on, where there is none here: a processor's times say nothing about it."""
    gpus = {of.get("gpu") for _, machines in finished for of in machines}
    if here["gpu"] is None and len(gpus) == 1 and None not in gpus:
        return tuple(seconds for seconds, _ in finished), gpus.pop()
    same = [
        seconds
        for seconds, machines in finished
        if all(of.get(key) == here[key] for of in machines for key in _KIND)
    ]
    return tuple(same), None


def left_of(study: Study, row: Row, cell: Cell, arguments: Any, dataset: Dataset) -> Left:
    """What one run still wants."""
    directory = study.run_directory(arguments.runs, cell)
    evaluation = row.timed.evaluation
    if directory.trained:
        done = up_to_date(directory, study.split, dataset, arguments.weights)
        return Left(row, cell, 0.0 if done else evaluation)
    share = _trained_share(directory, cell)
    return Left(row, cell, (1 - share) * row.training + evaluation)


def _trained_share(directory: RunDirectory, cell: Cell) -> float:
    """How much of its training a run that was stopped will not do again, by its epochs."""
    if not directory.stopped or not directory.history.is_file():
        return 0.0
    return min(1.0, len(read_history(directory.history)) / cell.run.trainer.num_epochs)
