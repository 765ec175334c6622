"""`python -m train RUN.json`: train one run into its run directory."""

from pathlib import Path

from study.cli import Parser, add_run
from study.errors import run_command
from study.stopping import stoppable


def parser() -> Parser:
    """The command line of `python -m train`."""
    made = Parser(prog="python -m train", description="Train one run into its run directory.")
    add_run(made)
    made.add_argument("--verify", action="store_true", help="check the data's SHA-256 first")
    made.add_argument(
        "--overwrite", action="store_true", help="replace another or a finished run in --out"
    )
    made.add_argument(
        "--dry-run", action="store_true", help="print the resolved config, write nothing"
    )
    made.add_argument(
        "--estimate",
        action="store_true",
        help="print the run's time, memory and disk here from twenty steps, leave nothing behind",
    )
    return made


def main() -> int:
    arguments = parser().parse_args()
    # After parsing, because torch and pythae take seconds to import.
    from study.datasets import open_dataset
    from study.files import to_json
    from study.overrides import parse_overrides
    from study.progress import say
    from study.runs import load_run

    run = load_run(arguments.run, parse_overrides(arguments.set), arguments.seed)
    if arguments.dry_run:
        print(to_json(run.resolved()), end="")
        return 0
    from train.run import train_run

    dataset = open_dataset(arguments.data, run.config.dataset, arguments.verify)
    out = arguments.out or default_directory(arguments.run, run.config.dataset, run.seed)
    if dataset.subset:
        say(f"{dataset.folder}: a subset: {dataset.subset}")
    if arguments.estimate:
        from train.estimate import estimate

        print("\n".join(estimate(run, dataset, out).lines()))
        return 0
    trained = train_run(run, dataset, out, arguments.overwrite)
    say(f"{out}: {'trained' if trained else 'finished already, left alone'}")
    return 0


def default_directory(file: Path, dataset: str, seed: int) -> Path:
    """`configs/runs/celeba64/vae.json`, seed 0 -> `runs/single/celeba64-vae/seed-0`."""
    return Path("runs") / "single" / f"{dataset}-{file.stem}" / f"seed-{seed}"


if __name__ == "__main__":
    with stoppable():
        run_command("train", main)
