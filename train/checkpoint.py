"""`checkpoint.pt` of a run directory: written whole, the one before it kept until the new one is.

What is read back runs no code (`weights_only=True`), is whole (the zip's own checksums) and of the
same run (a digest of its config and data).
"""

import os
import pickle
import zipfile
from collections import Counter
from typing import Any

import torch

from study.errors import one_line
from study.files import written_whole
from study.progress import say
from study.rundir import RunDirectory

FORMAT = 1
# What zipfile, pickle and torch raise on damaged files; OSError is a seek to where nothing is.
_UNREADABLE = (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError)


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, directory: RunDirectory, digest: str) -> None:
        """`digest`: of the run's identity (`study.identity.digest`)."""
        self.latest = directory.checkpoint
        self.before = directory.checkpoint_before
        self.digest = digest
        # Whether the latest is one that `read` refused: it must not take a good one's place.
        self.refused = False

    def write(self, state: dict[str, Any]) -> None:
        """Save tensors, numbers, strings and containers of them. OSError on a full disk, say."""
        whole = {"format": FORMAT, "run": self.digest, "state": state}
        with written_whole(self.latest, "wb") as file:
            try:
                torch.save(whole, file)
            except RuntimeError as error:
                # torch's word for an error of the file below it.
                raise error.__context__ or OSError(one_line(error)) from None
            file.flush()
            os.fsync(file.fileno())
            # At each moment from here on one whole checkpoint is there.
            if self.latest.is_file() and not self.refused:
                os.replace(self.latest, self.before)
        self.refused = False

    def read(self) -> dict[str, Any] | None:
        """The newest good state, its tensors on the CPU; None where there is none.

        A checkpoint that is cut short, damaged, or of another run is said in a line and passed
        over.
        """
        for path in (self.latest, self.before):
            if not path.is_file():
                continue
            try:
                return self._read(path)
            except _Refused as refused:
                say(f"{path}: {refused}; it is not used")
                self.refused |= path == self.latest
        return None

    def _read(self, path: os.PathLike) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise _Refused("damaged (a checksum is wrong)")
            # MultiStepLR keeps its milestones in a Counter.
            with torch.serialization.safe_globals([Counter]):
                found = torch.load(path, map_location="cpu", weights_only=True)
        except zipfile.BadZipFile:
            raise _Refused("no checkpoint, or cut short") from None
        except _UNREADABLE as error:
            raise _Refused(f"no checkpoint that can be read ({one_line(error)[:100]})") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise _Refused("no checkpoint of this version")
        if found.get("run") != self.digest:
            raise _Refused("the checkpoint of another run")
        return found["state"]


class _Refused(Exception):
    """Why a file is no checkpoint to go on from."""
