"""Command lines whose mistakes cost one line each."""

import argparse
from typing import NoReturn

from study.errors import StudyError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `StudyError` where argparse prints its usage and exits."""

    def __init__(self, **kwargs) -> None:
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} ('{self.prog} --help' lists what it takes)")


def positive_int(text: str) -> int:
    """An `argparse` type: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1 is wanted")
    return number


def non_negative_int(text: str) -> int:
    """An `argparse` type: a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 0 is wanted")
    return number
