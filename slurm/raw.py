"""Raw data for a job that prepares a data set: nothing on a compute node tries the network."""

from typing import Any

from study.errors import StudyError
from study.expansion import Study

# Made by a formula; all others are read from files, or downloaded.
GENERATED = ("shapes",)


def check_raw(study: Study, arguments: Any) -> None:
    """StudyError where a data set that is not there would have to be downloaded by a job."""
    if study.data.dataset in GENERATED:
        return
    if arguments.raw is None:
        raise StudyError(
            f"{study.file}: its data set is not prepared below {arguments.data}, and a compute "
            f"node downloads nothing: --raw FOLDER names the raw files of {study.data.dataset}, or "
            f"'python reproduce.py {arguments.study} --only data' prepares it here"
        )
    if not arguments.raw.is_dir():
        raise StudyError(f"--raw {arguments.raw}: no such folder")
