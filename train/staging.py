"""Images copied to a disk of the machine's own, where random reads cost nothing.

The copy has no name: the kernel frees it when the process ends, however it ends.
"""

import os
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import IO

import numpy as np

from study.errors import StudyError, describe_os_error
from study.progress import progress, say

BLOCK = 8 << 20  # bytes


def amount(count: int) -> str:
    """A number of bytes in words: `2.0 GB`, decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def stage_folder(stage_to: str, file: str = "") -> Path:
    """The folder that `engine.stage_to` names, `$VARIABLES` of the environment and ~ filled in.

    `file`: what errors begin with. StudyError where a variable is not set (or empty, which would
    name quite another folder).
    """
    try:
        text = Template(stage_to).substitute({k: v for k, v in os.environ.items() if v})
        return Path(text).expanduser()
    except KeyError as error:
        problem = f"the environment has no ${error.args[0]}"
    except ValueError:
        problem = "a $ that no name of a variable follows ($$ is a plain one)"
    except RuntimeError:
        problem = "no such user, or one without a home"
    raise StudyError(
        f"{file}engine.stage_to: {stage_to!r}: {problem}; "
        f"name a folder of the machine's own disk, or leave the key out"
    )


def staged(images: np.ndarray, path: Path, folder: Path) -> np.ndarray | None:
    """A mapped copy of `images` on the disk of `folder`, which is made if need be.

    `images`: mapped from `path`; of that file no more than they is copied. None, and one line
    that says why, where the copy cannot be made: no room, no folder, images that are compressed
    and so in memory already.
    """
    try:
        if not isinstance(images, np.memmap):
            raise OSError(f"{path.name} is compressed and was read into memory")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < images.nbytes:
            raise OSError(f"{amount(free)} free there, {amount(images.nbytes)} needed")
        # A file without a name, where the system has such; else its name is removed at once.
        with tempfile.TemporaryFile(dir=folder, buffering=0) as copy:
            _copy(path, images, copy)
            # The mapping holds the file when it is closed.
            order = "C" if images.flags.c_contiguous else "F"
            mapped = np.memmap(copy, images.dtype, "c", 0, images.shape, order)
    except OSError as error:
        say(f"{path}: not copied to {folder} ({describe_os_error(error)}): read where it lies")
        return None
    say(f"{path}: {amount(images.nbytes)} of images copied to {folder} for this run")
    return mapped


def _copy(path: Path, images: np.memmap, copy: IO[bytes]) -> None:
    """The bytes of `images` from `path` into `copy`; OSError where not all of them arrive."""
    block = memoryview(bytearray(BLOCK))
    left = images.nbytes
    with open(path, "rb", buffering=0) as source, progress(left, f"stage {path.name}", "B") as bar:
        source.seek(images.offset)
        while count := source.readinto(block[: min(left, BLOCK)]):
            done = 0
            while done < count:
                done += copy.write(block[done:count])
            left -= count
            bar.update(count)
    size = os.fstat(copy.fileno()).st_size
    if left or size != images.nbytes:
        raise OSError(f"{size} of {images.nbytes} bytes arrived")
