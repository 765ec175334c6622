"""Logs and records of a study's jobs."""

from pathlib import Path

from slurm.names import job_folder
from study.expansion import Study
from study.jsonfile import read_json_object


def element_titles(study: Study, runs: Path, job: str) -> dict[int, str]:
    file = job_folder(study, runs) / f"{job}.json"
    if not file.is_file():
        return {index: cell.title for index, cell in enumerate(study.cells)}
    return {int(index): title for index, title in read_json_object(file)["elements"].items()}
