"""Evaluation of a study: its runs, and the reference rows that its tables stand on."""

from pathlib import Path

from evaluate.available import check_measured, check_required, measuring_device, networks_for
from evaluate.references import Reference, references_of
from evaluate.run import evaluate_reference, evaluate_run, measured_so, up_to_date
from study.datasets import Dataset
from study.expansion import Cell, Study
from study.rundir import ReferenceDirectory
from study.schema import Evaluation
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
    required = required or []
    if up_to_date(directory, study.split, dataset, weights):
        check_required(required, cell.run.config.evaluation, weights, dataset)
        check_measured(required, directory.measured_splits()[study.split])
        return
    data = dataset.folder.parent
    evaluate_run(directory.path, data, study.split, weights=weights, required=required)


def _how(study: Study) -> Evaluation:
    """Reference rows are measured as the study's first run is, drawn from in their own way, and by
    all that any of the runs is measured by."""
    every = [cell.run.config.evaluation for cell in study.cells]
    return every[0].model_copy(
        update={
            "samplers": None,
            "samples": max(how.samples for how in every),
            "features": list(dict.fromkeys(word for how in every for word in how.features)),
            "lpips": list(dict.fromkeys(word for how in every for word in how.lpips)),
            "finite": next((how.finite for how in every if how.finite), None),
            "latents": next((how.latents for how in every if how.latents), None),
            "sharpness": any(how.sharpness for how in every),
        }
    )


def reference_rows(
    study: Study, dataset: Dataset, runs: Path
) -> list[tuple[Reference, ReferenceDirectory]]:
    """The study's reference rows, in a table's order, and where each is measured into; nothing is
    fitted yet."""
    dims = [cell.run.model.latent_dim for cell in study.cells]
    device = measuring_device(study.cells[0].run.trainer)
    folder = runs / study.name / "references"
    return [
        (reference, ReferenceDirectory(folder / reference.name))
        for reference in references_of(dims, _how(study), dataset, device)
    ]


def reference_measured(
    study: Study, directory: ReferenceDirectory, dataset: Dataset, weights: Path | None = None
) -> bool:
    """Whether a reference row is measured as this version would measure it."""
    entry = directory.measured_splits().get(study.split)
    if entry is None or not directory.record.is_file():
        return False
    return measured_so(entry, _how(study), study.split, dataset, weights)


def references_measured(
    study: Study, dataset: Dataset, runs: Path, weights: Path | None = None
) -> bool:
    """Whether all of them are."""
    return all(
        reference_measured(study, directory, dataset, weights)
        for _, directory in reference_rows(study, dataset, runs)
    )


def evaluate_references(
    study: Study, dataset: Dataset, runs: Path, weights: Path | None = None
) -> None:
    """Measure the reference rows on the study's split, those that are not."""
    todo = [
        (reference, directory)
        for reference, directory in reference_rows(study, dataset, runs)
        if not reference_measured(study, directory, dataset, weights)
    ]
    if not todo:
        return
    how = _how(study)
    device = measuring_device(study.cells[0].run.trainer)
    networks = networks_for(how, dataset, weights, device)
    for reference, directory in todo:
        evaluate_reference(reference, directory, how, dataset, study.split, networks)
