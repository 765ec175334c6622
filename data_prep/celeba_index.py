"""CelebA's two index files: which split an image is of, and its 40 attributes.

Both are by file number: entry n is of NNNNNN.jpg.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.errors import StudyError

PARTITION_FILE = "list_eval_partition.txt"
ATTRIBUTES_FILE = "list_attr_celeba.txt"
# In the order of the partition's codes 0, 1, 2; the numbers are those of the published files.
OFFICIAL = {"train": 162_770, "eval": 19_867, "test": 19_962}
ABSENT = -1
ATTRIBUTES = 40

_FILE_NAME = re.compile(r"([0-9]{6})\.jpg")
_VALUES = {"-1": -1, "1": 1}


def file_number(name: str) -> int | None:
    """12 for `000012.jpg`, None for what is no such name."""
    found = _FILE_NAME.fullmatch(name)
    return int(found[1]) if found else None


def file_name(number: int) -> str:
    """`000012.jpg` for 12."""
    return f"{number:06d}.jpg"


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line that is not blank."""
    # What is no ASCII becomes a word that cannot be right, so that the line is named.
    with open(path, encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if words := line.split():
                yield number, words


def read_partition(path: Path) -> np.ndarray:
    """The split code of each file number (int8: 0 train, 1 eval, 2 test, -1 not listed)."""
    codes = np.full(1_000_000, ABSENT, np.int8)
    for line, words in _lines(path):
        number = file_number(words[0])
        if number is None or len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise StudyError(
                f"{path}: line {line}: '{' '.join(words)[:60]}' where a line such as "
                f"'000001.jpg 0' (0 train, 1 valid, 2 test) is wanted"
            )
        if codes[number] != ABSENT:
            raise StudyError(f"{path}: line {line}: {words[0]} stands twice")
        codes[number] = int(words[1])
    listed = np.flatnonzero(codes != ABSENT)
    if not len(listed):
        raise StudyError(f"{path}: empty; the official file lists 202,599 images")
    return codes[: listed[-1] + 1].copy()


@dataclass(frozen=True)
class Attributes:
    """`values`: int8, file number x 40, 1 where the image has the attribute named at that place
    in `names`, -1 where not, 0 where the image is not listed."""

    names: list[str]
    values: np.ndarray


def read_attributes(path: Path, partition: np.ndarray) -> Attributes:
    """Read the official format: the number of rows, 40 names, then a file name and 40 times 1 or
    -1 in each row. Rows must be of images that the partition lists."""
    lines = _lines(path)
    announced, names = _attributes_head(path, lines)
    values = np.zeros((len(partition), ATTRIBUTES), np.int8)
    rows = 0
    for line, words in lines:
        number = file_number(words[0])
        if number is None or len(words) != 1 + ATTRIBUTES or not _VALUES.keys() >= set(words[1:]):
            raise StudyError(
                f"{path}: line {line}: a file name and {ATTRIBUTES} times 1 or -1 is wanted, "
                f"'{' '.join(words)[:40]}' ... ({len(words)} words) stands there"
            )
        if number >= len(partition) or partition[number] == ABSENT:
            raise StudyError(f"{path}: line {line}: {words[0]} is not in {PARTITION_FILE}")
        if values[number, 0]:
            raise StudyError(f"{path}: line {line}: {words[0]} stands twice")
        values[number] = [_VALUES[word] for word in words[1:]]
        rows += 1
    if rows != announced:
        raise StudyError(f"{path}: {rows:,} rows, its first line announces {announced:,}")
    return Attributes(names, values)


def _attributes_head(path: Path, lines: Iterator[tuple[int, list[str]]]) -> tuple[int, list[str]]:
    _, count = next(lines, (1, []))
    if len(count) != 1 or not count[0].isdecimal():
        raise StudyError(f"{path}: line 1: the number of rows is wanted there, and nothing else")
    line, names = next(lines, (2, []))
    if len(set(names)) != ATTRIBUTES:
        raise StudyError(
            f"{path}: line {line}: {ATTRIBUTES} different attribute names are wanted, "
            f"{len(set(names))} stand there"
        )
    return int(count[0]), names
