"""`python -m evaluate RUN_DIR`: measure a trained run."""

from pathlib import Path
from typing import Any

from study.cli import Parser, add_measuring, positive_int
from study.errors import run_command

SPLITS = ("train", "eval", "test")


def parser() -> Parser:
    """The command line of `python -m evaluate`."""
    made = Parser(prog="python -m evaluate", description="Measure a trained run directory.")
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


def main() -> int:
    arguments = parser().parse_args()
    # After parsing, because torch takes seconds to import.
    from evaluate.formats import format_number
    from evaluate.run import evaluate_run

    entry = evaluate_run(
        arguments.run,
        arguments.data,
        arguments.split,
        arguments.batch_size,
        arguments.verify,
        arguments.weights,
        arguments.require,
    )

    def show(metrics: dict[str, Any]) -> None:
        for metric in metrics.values():
            print(f"  {metric['title']:24} {format_number(metric['mean']):>12}  {metric['unit']}")

    print(f"{arguments.run}: {entry['images']:,} images")
    show(entry["metrics"])
    for generation in entry["generations"].values():
        print(f"{generation['samples']:,} samples and their own reconstructions")
        print(f"  {generation['title']}")
        show(generation["metrics"])
    if entry["subset"]:
        print(f"  a subset of the data: {entry['subset']}")
    return 0


if __name__ == "__main__":
    run_command("evaluate", main)
