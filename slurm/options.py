"""The command line of `python -m slurm`."""

import argparse
import re
from pathlib import Path

from study.cli import Parser, add_study, positive_int, words


def gpu_type(text: str) -> str:
    """An `argparse` type: a type of GPU as SLURM has it, a100."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}': a type of GPU such as a100 is wanted")
    return text


def parser() -> Parser:
    """Of `python -m slurm`."""
    made = Parser(
        prog="python -m slurm",
        description="Put a study on a SLURM cluster: its data where they are not there, its runs "
        "as one array, its tables. What is done, queued or running is left out; what is half done "
        "goes on.",
    )
    add_study(made)
    made.add_argument(
        "--cluster", type=Path, metavar="SITE.json", help="a file of configs/clusters/"
    )
    made.add_argument("--gpu", type=gpu_type, metavar="TYPE", help="this type of GPU, e.g. a100")
    made.add_argument(
        "--max-parallel", type=positive_int, metavar="K", help="so many runs at once at most"
    )
    made.add_argument(
        "--only",
        type=words,
        metavar="RUN[,RUN]",
        help="these runs alone (vae, vae/seed-1, 'beta_vae*'), or: data, tables",
    )
    does = made.add_mutually_exclusive_group()
    does.add_argument("--dry-run", action="store_true", help="print the commands, write nothing")
    does.add_argument("--status", action="store_true", help="runs x stages, and the queue")
    does.add_argument("--cancel", action="store_true", help="end this study's jobs")
    does.add_argument(
        "--estimate", action="store_true", help="GPU-hours, disk and memory, from timed steps here"
    )
    does.add_argument("--sync", action="store_true", help="upload what wandb tracked offline")
    return made
