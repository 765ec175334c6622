"""Command line: `python -m data_prep DATASET [--raw DIR] --out data`."""

import argparse
import signal
from pathlib import Path
from typing import Any, NoReturn

from data_prep.options import OPTIONS
from data_prep.prepare import prepare
from study.cli import Parser, positive_int
from study.errors import run_command
from study.schema import Section

RAW = {
    "mnist": "folder with the four IDX files under their published names, .gz or not; without it "
    "they are downloaded",
    "fashion_mnist": "folder with the four IDX files under their published names, .gz or not; "
    "without it they are downloaded",
    "celeba": "folder with img_align_celeba/ or img_align_celeba.zip, list_eval_partition.txt "
    "and, if wanted, list_attr_celeba.txt",
    "folder": "folder with the images, in subfolders of any depth; train/, eval/ (or val/) and "
    "test/ are taken as splits, the subfolders below as classes (labels)",
}
# Their images are decoded one by one, from files that must be given.
DECODED = ("celeba", "folder")
NAMES = {
    "shapes": "shapes, or shapes-clean",
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "celeba": "celeba and the image size, such as celeba64",
    "folder": "folder and the image size, such as folder64",
}
ABOUT = "Prepare a data set: raw files -> OUT/NAME/{train,eval,test}_data.npz and manifest.json."


def _scalar(text: str) -> int | float | str:
    # The option's model says what is wrong with it; this only tells numbers from words.
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _add_options(parser: argparse.ArgumentParser, model: type[Section]) -> None:
    for key, field in model.model_fields.items():
        required = field.is_required()
        given: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": key, "required": required}
        help_text = field.description or ""
        if field.annotation is bool:
            given["action"] = "store_true"
        else:
            given |= {"type": _scalar, "metavar": "N"}
            if field.default is not None and not required:
                help_text += f" (default: {field.default})"
        parser.add_argument("--" + key.replace("_", "-"), help=help_text, **given)


def _add_places(parser: argparse.ArgumentParser, dataset: str) -> None:
    out = Path("data")
    parser.add_argument(
        "--out", type=Path, default=out, help=f"where data sets lie (default: {out})"
    )
    parser.add_argument("--name", help=f"the folder's name in OUT (default: {NAMES[dataset]})")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a prepared data set of that name"
    )


def _parser() -> Parser:
    parser = Parser(prog="python -m data_prep", description=ABOUT)
    subparsers = parser.add_subparsers(dest="dataset", metavar="DATASET", required=True)
    for dataset, model in OPTIONS.items():
        sub = subparsers.add_parser(
            dataset,
            help=model.__doc__,
            description=model.__doc__,
            formatter_class=argparse.HelpFormatter,
        )
        if dataset in RAW:
            required = dataset in DECODED
            sub.add_argument("--raw", type=Path, help=RAW[dataset], required=required)
        _add_places(sub, dataset)
        _add_options(sub, model)
        if dataset in DECODED:
            about = "decoding processes (default: one for each core)"
            sub.add_argument("--workers", type=positive_int, metavar="N", help=about)
    return parser


def _terminated(*_: object) -> NoReturn:
    # As an exception, so that what is half written is cleared away when a cluster ends the job.
    raise SystemExit(128 + signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Prepare what the command line asks for."""
    given = vars(_parser().parse_args(arguments))
    dataset = given.pop("dataset")
    own = {key: given.pop(key) for key in OPTIONS[dataset].model_fields if key in given}
    prepare(dataset, own, **({"raw": None} | given))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    run_command("data_prep", main)
