"""`python -m evaluate RUN_DIR` measures a trained run, `diff RUN RUN` compares two run
directories, `tables` makes the pages of results/ anew, `metrics` describes what is measured,
`prefetch` fetches networks' weights.

A run directory of such a name is reached as ./diff, ./tables, ./metrics or ./prefetch.
"""

import sys
from typing import Any

from evaluate.options import diffing, listing, measuring, prefetching, remaking
from study.errors import StudyError, run_command
from study.stopping import stoppable


def main() -> int:
    word, *rest = sys.argv[1:] or [""]
    if word == "diff":
        return diff_runs(rest)
    if word == "tables":
        return remake_tables(rest)
    if word == "metrics":
        return list_metrics(rest)
    if word == "prefetch":
        return prefetch_weights(rest)
    return measure_run(sys.argv[1:])


def diff_runs(words: list[str]) -> int:
    """`python -m evaluate diff`."""
    arguments = diffing().parse_args(words)
    from evaluate.diff import diff

    print(diff(arguments.one, arguments.two), end="")
    return 0


def remake_tables(words: list[str]) -> int:
    """`python -m evaluate tables`."""
    arguments = remaking().parse_args(words)
    from evaluate.report import remake

    found = remake(arguments.folders, arguments.results, arguments.check)
    for path, how in found.items():
        print(f"{path}: {how}" if arguments.check else f"made anew: {path}")
    return 1 if arguments.check and found else 0


def list_metrics(words: list[str]) -> int:
    """`python -m evaluate metrics`."""
    arguments = listing().parse_args(words)
    from evaluate.metrics_page import metrics_page

    print(metrics_page(versions=not arguments.page), end="")
    return 0


def prefetch_weights(words: list[str]) -> int:
    """`python -m evaluate prefetch`."""
    arguments = prefetching().parse_args(words)
    from evaluate.prefetch import check, check_source, prefetch, wanted_files

    wanted = wanted_files(arguments.names, arguments.study, arguments.budget, arguments.weights)
    if arguments.check:
        if arguments.source:
            raise StudyError("--check looks at what is there: it takes no --from")
        return check(wanted)
    prefetch(wanted, check_source(arguments.source) if arguments.source else None)
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
