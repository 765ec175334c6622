"""Evaluation of a study: its runs, and the reference rows that its tables stand on."""

from pathlib import Path

from evaluate.available import networks_for
from evaluate.references import Reference, references_of
from evaluate.run import evaluate_reference, evaluate_run, measured_so, up_to_date
from study.datasets import Dataset
from study.expansion import Cell, Study
from study.rundir import ReferenceDirectory
from study.schema import Evaluation
from train.execution import device_of
from train.run import run_identity


def evaluate_cell(
    study: Study,
    cell: Cell,
    dataset: Dataset,
    runs: Path,
    weights: Path | None = None,
    required: list[str] | None = None,
) -> None:
    """Evaluate one run on the study's split, unless it is, as this version would do it."""
    directory = study.run_directory(runs, cell)
    # It may be another run's, where only this stage was asked for.
    directory.take(run_identity(cell.run, dataset))
    if not up_to_date(directory, study.split, dataset, weights):
        data = dataset.folder.parent
        evaluate_run(directory.path, data, study.split, weights=weights, required=required or [])


def reference_directory(study: Study, runs: Path, reference: Reference) -> ReferenceDirectory:
    """Where a reference row is measured into."""
    return ReferenceDirectory(runs / study.name / "references" / reference.name)


def _how(study: Study) -> Evaluation:
    """Reference rows are measured as the study's first run is, and drawn from in their own way."""
    return study.cells[0].run.config.evaluation.model_copy(update={"samplers": None})


def _references(study: Study, dataset: Dataset) -> list[Reference]:
    dims = [cell.run.model.latent_dim for cell in study.cells]
    return references_of(dims, _how(study), dataset, device_of(study.cells[0].run.trainer))


def evaluate_references(
    study: Study, dataset: Dataset, runs: Path, weights: Path | None = None
) -> None:
    """Measure the reference rows on the study's split, those that are not."""
    how = _how(study)
    todo = [
        (reference, directory)
        for reference in _references(study, dataset)
        for directory in [reference_directory(study, runs, reference)]
        if not _is_measured(directory, how, study.split, dataset, weights)
    ]
    if not todo:
        return
    networks = networks_for(how, dataset, weights, device_of(study.cells[0].run.trainer))
    for reference, directory in todo:
        evaluate_reference(reference, directory, how, dataset, study.split, networks)


def references_measured(
    study: Study, dataset: Dataset, runs: Path, weights: Path | None = None
) -> bool:
    """Whether all of them are measured as this version would measure them."""
    return all(
        _is_measured(
            reference_directory(study, runs, reference), _how(study), study.split, dataset, weights
        )
        for reference in _references(study, dataset)
    )


def _is_measured(
    directory: ReferenceDirectory,
    how: Evaluation,
    split: str,
    dataset: Dataset,
    weights: Path | None,
) -> bool:
    entry = directory.measured_splits().get(split)
    if entry is None or not directory.record.is_file():
        return False
    return measured_so(entry, how, split, dataset, weights)
