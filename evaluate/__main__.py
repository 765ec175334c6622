"""`python -m evaluate RUN_DIR` measures a trained run, `diff RUN RUN` compares two run
directories, `metrics` describes what is measured.

A run directory that is called diff or metrics is reached as ./diff or ./metrics.
"""

import sys
from typing import Any

from evaluate.options import diffing, listing, measuring
from study.errors import run_command
from study.stopping import stoppable


def main() -> int:
    word, *rest = sys.argv[1:] or [""]
    if word == "diff":
        return diff_runs(rest)
    if word == "metrics":
        return list_metrics(rest)
    return measure_run(sys.argv[1:])


def diff_runs(words: list[str]) -> int:
    """`python -m evaluate diff`."""
    arguments = diffing().parse_args(words)
    from evaluate.diff import diff

    print(diff(arguments.one, arguments.two), end="")
    return 0


def list_metrics(words: list[str]) -> int:
    """`python -m evaluate metrics`."""
    arguments = listing().parse_args(words)
    from evaluate.metrics_page import metrics_page

    print(metrics_page(versions=not arguments.page), end="")
    return 0


def measure_run(words: list[str]) -> int:
    """`python -m evaluate RUN_DIR`."""
    arguments = measuring().parse_args(words)
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
    with stoppable():
        run_command("evaluate", main)
