"""Command lines whose mistakes cost one line each."""

import argparse
from pathlib import Path
from typing import NoReturn

from study.errors import StudyError

# numpy's legacy generator, which Pythae seeds too, takes no larger one.
MAX_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `StudyError` where argparse prints its usage and exits."""

    def __init__(self, **kwargs) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} ('{self.prog} --help' lists what it takes)")


def _whole_number(text: str, least: int, most: int | None = None) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        up_to = "" if most is None else f" and at most {most}"
        raise argparse.ArgumentTypeError(
            f"{text}: a whole number of at least {least}{up_to} is wanted"
        )
    return number


def positive_int(text: str) -> int:
    """An `argparse` type: a whole number of at least 1."""
    return _whole_number(text, 1)


def seed(text: str) -> int:
    """An `argparse` type: a seed that every generator takes."""
    return _whole_number(text, 0, MAX_SEED)


def words(text: str) -> list[str]:
    """An `argparse` type: words between commas."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text}': words between commas are wanted")
    return found


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """The options of every command that measures: `--weights` and `--require`."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="folder of LPIPS's and Inception's weights, before torch's cache",
    )
    parser.add_argument(
        "--require",
        type=words,
        default=[],
        metavar="KEY[,KEY]",
        help="metrics (lpips, ...) without which nothing is measured",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """A run file, what is changed of it, and where its data and its directory are."""
    parser.add_argument("run", type=Path, metavar="RUN.json", help="a file of configs/runs/")
    parser.add_argument("--seed", type=seed, help="in place of trainer.seed")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, e.g. model.beta=4; may be given several times",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of data sets (data)"
    )
    parser.add_argument(
        "--out", type=Path, help="run directory; without it runs/single/<data>-<run>/seed-<n>"
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    """A study and the options that say which runs it is of, on which data, and where all lies."""
    parser.add_argument("study", type=Path, metavar="STUDY.json", help="a file of configs/studies/")
    parser.add_argument(
        "--budget", help="one of the study's budgets, e.g. small; default: as it is"
    )
    parser.add_argument("--raw", type=Path, help="folder of the raw data set, where one is needed")
    parser.add_argument("--data", type=Path, default=Path("data"), help="prepared data sets (data)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="run directories (runs)")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="tables and figures (results)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override in every run"
    )
    add_measuring(parser)
