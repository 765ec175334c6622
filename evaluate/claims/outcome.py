"""What one way of judging a claim gives: as defined here or as published there."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """A word and what it rests on."""

    word: Literal["reproduced", "not reproduced", "cannot tell"]
    why: str
    # Whether more seeds may settle it.
    few: bool = False
