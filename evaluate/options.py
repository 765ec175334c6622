"""The command lines of `python -m evaluate`."""

import argparse
import textwrap
from pathlib import Path

from study.cli import Parser, add_measuring, positive_int

SPLITS = ("train", "eval", "test")
# The files that `evaluate.prefetch` knows, which takes torch to import.
WEIGHTS = ("vgg", "alex", "inception")


class _Measuring(Parser):
    """Its help lists the metrics, which the registry knows: torch is imported for that alone."""

    def format_help(self) -> str:
        from evaluate.registry import GENERATION_KEYS, KEYS

        keys = dict.fromkeys((*KEYS, *GENERATION_KEYS))
        # A key is not broken at its spaces.
        listed = ", ".join(key.replace(" ", "\0") for key in keys)
        lines = textwrap.fill(listed, 96, initial_indent="  ", subsequent_indent="  ")
        lines = lines.replace("\0", " ")
        return (
            f"{super().format_help()}\n"
            f"metrics, by the keys of --require and of a study's tables:\n{lines}\n\n"
            f"python -m evaluate metrics: each one's definition, needs and settings\n"
            f"python -m evaluate diff RUN RUN: what differs between two run directories\n"
            f"python -m evaluate tables: makes the tables and pages of results/ anew\n"
            f"python -m evaluate prefetch: fetches or checks the weights of LPIPS and Inception\n"
        )


def measuring() -> Parser:
    """Of `python -m evaluate RUN_DIR`."""
    made = _Measuring(prog="python -m evaluate", description="Measure a trained run directory.")
    made.add_argument("run", type=Path, metavar="RUN_DIR", help="a directory that train made")
    made.add_argument("--split", choices=SPLITS, help="in place of evaluation.split")
    made.add_argument(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="N",
        help="images at a time; changes no number (64)",
    )
    made.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets (data)")
    made.add_argument("--verify", action="store_true", help="check the data's SHA-256 first")
    add_measuring(made)
    return made


def diffing() -> Parser:
    """Of `python -m evaluate diff RUN RUN`."""
    made = Parser(
        prog="python -m evaluate diff",
        description="What differs between two run directories: config, data, code, versions, "
        "machine, and each metric of the splits that both have, with a 95 % interval of the "
        "difference where they are of the same images. Runs may be unfinished or not measured.",
        epilog="The exit status is 0 whether or not they differ, 2 where one is no run directory.",
    )
    made.add_argument("one", type=Path, metavar="RUN_A", help="a directory that train made")
    made.add_argument("two", type=Path, metavar="RUN_B", help="another; B - A is what is shown")
    return made


def remaking() -> Parser:
    """Of `python -m evaluate tables`."""
    made = Parser(
        prog="python -m evaluate tables",
        description="Make tables, verdicts and page of studies anew from their runs.json alone "
        "(and LEARNED.md, which is written by hand), without run directories or data, and the "
        "overview results/README.md.",
        epilog="Prints each file that it changes. The exit status is 2, and nothing is written, "
        "where a folder has no whole runs.json or its LEARNED.md refers to what is not there.",
    )
    made.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="RESULTS/STUDY",
        help="folders that reproduce.py wrote; without any: all of --results",
    )
    made.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all studies (results)"
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="write nothing: name each file that would be another, exit status 1 where there is "
        "one; of pictures only whether they are there",
    )
    return made


def listing() -> Parser:
    """Of `python -m evaluate metrics`."""
    made = Parser(
        prog="python -m evaluate metrics",
        description="Every metric with its definition, as Markdown, from the registry.",
    )
    made.add_argument(
        "--page",
        action="store_true",
        help="without the versions installed here, as evaluate/METRICS.md has it",
    )
    return made


def weights_name(text: str) -> str:
    """An `argparse` type: one of `WEIGHTS`."""
    if text not in WEIGHTS:
        raise argparse.ArgumentTypeError(f"{text}: not one of {', '.join(WEIGHTS)}")
    return text


def prefetching() -> Parser:
    """Of `python -m evaluate prefetch`."""
    made = Parser(
        prog="python -m evaluate prefetch",
        description="Fetch the weights of LPIPS (VGG, AlexNet) and of Inception, for machines "
        "that have no internet, each checked by the SHA-256 in its name. What is there and whole "
        "is left alone. Nothing else here ever downloads them.",
        epilog="The exit status is 0 where all is there and whole, 1 where something is not, 2 for "
        "a command that cannot be right. A proxy is taken from https_proxy in the environment.",
    )
    made.add_argument(
        "names",
        nargs="*",
        type=weights_name,
        metavar="NAME",
        help=f"{', '.join(WEIGHTS)}; without any: all of them",
    )
    made.add_argument(
        "--study", type=Path, metavar="STUDY.json", help="those that this study's runs ask for"
    )
    made.add_argument("--budget", help="of the study, e.g. small; default: as it is")
    made.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="into this folder, the --weights of evaluation, in place of torch's hub cache",
    )
    made.add_argument(
        "--from",
        dest="source",
        metavar="URL_OR_FOLDER",
        help="a mirror, or a folder, that has the files by their names",
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="fetch nothing: say what is there, what is missing or damaged, and where it looks",
    )
    return made
