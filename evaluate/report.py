"""`results/<study>/`: tables, figures, and a README that shows them with budget and command."""

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate.claims.check import Worse, compare, read_verdicts
from evaluate.claims.formats import summary_line
from evaluate.claims.judge import Verdict, judge
from evaluate.claims.page import overview, write_verdicts
from evaluate.claims.schema import Reference, read_reference, reference_path
from evaluate.figures.draw import draw_figures
from evaluate.figures.source import Drawn
from evaluate.findings import collapses
from evaluate.formats import footnotes, markdown_grid, markdown_note, to_csv, to_markdown
from evaluate.latex import to_latex
from evaluate.record import deflate, gather, read_record
from evaluate.tables import Table, build_table, measured, pieces
from study.datasets import Dataset
from study.errors import RunFailed, StudyError, one_line
from study.expansion import Study
from study.files import write_json, write_text
from study.progress import say
from study.provenance import ROOT

# More metrics than these side by side, and a page cuts its table in pieces.
WIDE = 6
# What sources claim: part of the project, wherever a study's own results go.
REFERENCES = ROOT / "results" / "reference"


def write_results(study: Study, dataset: Dataset, runs: Path, results: Path, command: str) -> Path:
    """Write `results/<study>/` from the run directories; returns the folder.

    RunFailed where no run of the study has been evaluated yet.
    """
    record = gather(study, dataset, runs, command)
    if not measured(record):
        raise RunFailed(
            f"{runs / study.name}: no run of this study is evaluated there, so no table is made"
        )
    folder = results / study.name
    write_json(folder / "runs.json", deflate(record))
    figures = draw_figures(study, record, runs / study.name, folder)
    tables = write_tables(record, folder)
    reference = reference_of(record)
    verdicts = write_verdicts(record, reference, folder, command) if reference else []
    write_text(folder / "README.md", page(record, tables, figures, verdicts))
    return folder


def reference_of(record: dict[str, Any]) -> Reference | None:
    """What the study's source claims, as data; None where nobody has written it down."""
    path = reference_path(REFERENCES, record)
    return read_reference(path) if path.is_file() else None


def worse_than_committed(
    study: Study, dataset: Dataset, runs: Path, results: Path, command: str
) -> tuple[list[Verdict], list[Worse]]:
    """The verdicts that the run directories give now, and those worse than the committed ones.

    Nothing is written. StudyError where the study has no committed verdicts.
    """
    committed = read_verdicts(results / study.name)
    record = gather(study, dataset, runs, command)
    reference = reference_of(record)
    verdicts = judge(record, reference, command) if reference else []
    return verdicts, compare(committed, verdicts)


def write_overview(results: Path) -> None:
    """`results/README.md`: how many claims of each source came out, those never run included."""
    references = [read_reference(path) for path in sorted(REFERENCES.glob("*.json"))]
    judged = {}
    for path in sorted(results.glob("*/runs.json")):
        try:
            record = read_record(path)
        except StudyError as error:  # another study's: no reason to lose this one's tables
            say(f"left out of {results / 'README.md'}: {one_line(error)}")
            continue
        if (reference := reference_of(record)) is not None:
            judged[path.parent.name] = judge(record, reference, record["command"])
    configured = {path.stem for path in (ROOT / "configs" / "studies").glob("*.json")}
    write_text(results / "README.md", overview(references, judged, configured))


def write_tables(record: dict[str, Any], folder: Path) -> list[Table]:
    """Each table of a record as CSV, Markdown and LaTeX."""
    tables = [build_table(record, table) for table in record["tables"]]
    for table in tables:
        write_text(folder / f"{table.name}.csv", to_csv(table))
        write_text(folder / f"{table.name}.md", to_markdown(table))
        latex = to_latex(table, record["study"], record["title"])
        write_text(folder / f"{table.name}.tex", latex)
    return tables


def page(
    record: dict[str, Any],
    tables: list[Table],
    figures: list[Drawn],
    verdicts: Sequence[Verdict] = (),
) -> str:
    """The study's README.md."""
    parts = [f"# {record['title']}", f"Re-runs: {record['source']}", _what_ran(record)]
    if verdicts:
        parts.append(
            f"Against its source: {summary_line(list(verdicts))}: [verdicts](VERDICTS.md)."
        )
    for table in tables:
        parts.append(f"## {table.title}")
        parts += [*(markdown_grid(piece) for piece in pieces(table, WIDE)), markdown_note(table)]
        parts.append("\n".join(f"- {note}" for note in footnotes(table)))
        files = (f"[{table.name}.{kind}]({table.name}.{kind})" for kind in ("csv", "md", "tex"))
        parts.append(f"The same table as {', '.join(files)}.")
    if found := collapses(record):
        parts.append("## What collapsed at this budget")
        parts.append("\n".join(f"- {line}" for line in found))
    for figure in figures:
        parts.append(f"## {figure.title}")
        parts += [f"![{figure.title}]({file})" for file in figure.files]
        parts.append(figure.caption)
    parts.append(
        "The numbers of every run, with configs and versions, are in [runs.json](runs.json); "
        "the tables are made from it."
    )
    return "\n\n".join(parts) + "\n"


def _what_ran(record: dict[str, Any]) -> str:
    cells = measured(record)
    data = cells[0]["data"]
    images = ", ".join(f"{count:,} {split}" for split, count in data["images"].items())
    machines = sorted({_machine(cell["machine"]) for cell in cells})
    seconds = sum(cell.get("training_seconds", 0) for cell in cells)
    lines = [
        f"- Command: `{record['command']}`",
        f"- Budget: {record['budget'] or 'the study as it stands in its file'}. {record['cost']}"
        + _overridden(record["command"]),
        f"- Data: `{data['name']}`, images: {images}"
        + (f" (a subset: {data['subset']})" if data["subset"] else ""),
        f"- Hardware: {'; '.join(machines)}; training took {seconds / 60:.1f} minutes in all",
        f"- Code: trained at {_commits(cells, 'code')}; "
        f"evaluated at {_commits(cells, 'evaluation_code')}",
    ]
    return "\n".join(lines) + "\n\n" + _run_table(record)


def _overridden(command: str) -> str:
    """What the command set otherwise than the study's file, which the budget's words describe."""
    words = shlex.split(command)
    settings = [word for before, word in itertools.pairwise(words) if before == "--set"]
    if not settings:
        return ""
    return f" **Overridden by `--set`, over what is said here:** `{'`, `'.join(settings)}`"


def _machine(machine: dict[str, Any]) -> str:
    cpu = f"{machine['cores']} cores of {machine['processor']}"
    return f"{machine['gpu']}, {cpu}" if machine["gpu"] else f"{cpu}, no GPU"


def _commits(cells: list[dict[str, Any]], key: str) -> str:
    return ", ".join(sorted({_commit(cell[key]) for cell in cells}))


def _commit(code: dict[str, Any]) -> str:
    if code["commit"] is None:
        return "no commit (not a git checkout)"
    return f"commit {code['commit'][:12]}" + (" with local changes" if code["dirty"] else "")


def _rates(trainer: dict[str, Any]) -> str:
    """The learning rate, or that of each part where several optimizers leave it unread."""
    ending = "_learning_rate"
    rates = {
        key.removesuffix(ending): rate for key, rate in trainer.items() if key.endswith(ending)
    }
    if not rates:
        return f"{trainer['learning_rate']:g}"
    if len(set(rates.values())) == 1:
        return f"{next(iter(rates.values())):g}"
    return ", ".join(f"{part} {rate:g}" for part, rate in rates.items())


def _run_table(record: dict[str, Any]) -> str:
    lines = [
        "| model | networks | parameters | latent | epochs | batch | learning rate | seeds |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for row in record["rows"]:
        cells = [cell for cell in row["cells"] if "config" in cell]
        if not cells:
            lines.append(f"| {row['label']} | never started | | | | | | |")
            continue
        config = cells[0]["config"]
        networks = config["networks"]
        sizes = ", ".join(f"{k} {v}" for k, v in networks.items() if k != "name" and v)
        trainer = config["trainer"]
        lines.append(
            f"| {row['label']} | {networks['name']} ({sizes}) "
            f"| {sum(cells[0]['parameters'].values()):,} | {config['model']['latent_dim']} "
            f"| {trainer['num_epochs']} | {trainer['per_device_train_batch_size']} "
            f"| {_rates(trainer)} | {', '.join(str(c['seed']) for c in cells)} |"
        )
    return "\n".join(lines)
