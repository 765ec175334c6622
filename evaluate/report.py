"""`results/<study>/`: tables, figures, and a README that shows them with budget and command."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluate.pictures import image_rows, loss_curves
from evaluate.record import gather
from evaluate.run import SAMPLER
from evaluate.tables import Table, build_table, footnotes, measured, to_csv, to_markdown
from study.errors import RunFailed
from study.expansion import Cell, Study
from study.files import write_json, write_text
from study.npz import open_array
from study.rundir import RunDirectory
from train.history import read_history


def write_results(study: Study, runs: Path, results: Path, command: str) -> Path:
    """Write `results/<study>/` from the run directories; returns the folder.

    RunFailed where no run of the study has been evaluated yet.
    """
    record = gather(study, runs, command)
    if not measured(record):
        raise RunFailed(f"{runs / study.name}: no run of '{study.name}' is evaluated, so no table")
    folder = results / study.name
    write_json(folder / "runs.json", record)
    figures = _figures(study, runs / study.name, folder)
    tables = write_tables(record, folder)
    write_text(folder / "README.md", page(record, tables, figures))
    return folder


def write_tables(record: dict[str, Any], folder: Path) -> list[Table]:
    """Each table of a record as CSV and Markdown."""
    tables = [build_table(record, table) for table in record["tables"]]
    for table in tables:
        write_text(folder / f"{table.name}.csv", to_csv(table))
        write_text(folder / f"{table.name}.md", to_markdown(table))
    return tables


def _figures(study: Study, runs: Path, folder: Path) -> list[tuple[str, str]]:
    """Draw what the run directories allow; file name and caption of each figure."""
    return _image_figures(study, runs, folder) + _curve_figures(study, runs, folder)


def _image_figures(study: Study, runs: Path, folder: Path) -> list[tuple[str, str]]:
    """Reconstructions and generations of each row's first seed."""
    first = [(cells[0].label, RunDirectory(runs / cells[0].directory)) for cells in _rows(study)]
    shown = [(label, directory) for label, directory in first if directory.pictures.is_file()]
    if not shown:
        return []
    made = {
        "reconstructions": f"Originals over reconstructions, {study.split} split",
        "generations": f"Generations, z ~ {SAMPLER}, the same z for all models of one latent size",
    }
    for kind, caption in made.items():
        rows = [(label, np.array(open_array(d.pictures, kind))) for label, d in shown]
        if kind == "reconstructions":
            originals = np.array(open_array(shown[0][1].pictures, "originals"))
            rows.insert(0, ("original", originals))
        image_rows(rows, f"{study.name}: {caption}", folder / f"{kind}.png")
    return [(f"{kind}.png", caption) for kind, caption in made.items()]


def _curve_figures(study: Study, runs: Path, folder: Path) -> list[tuple[str, str]]:
    """Losses over epochs, all seeds of a row in one panel."""
    curves = []
    for cells in _rows(study):
        directories = [RunDirectory(runs / cell.directory) for cell in cells]
        histories = [read_history(d.history) for d in directories if d.history.is_file()]
        if histories:
            curves.append((cells[0].label, histories))
    if not curves:
        return []
    caption = "Losses over epochs, each model's own loss; train solid, eval dashed"
    loss_curves(curves, f"{study.name}: {caption}", folder / "loss_curves.png")
    return [("loss_curves.png", caption)]


def _rows(study: Study) -> list[list[Cell]]:
    return list(study.rows().values())


def page(record: dict[str, Any], tables: list[Table], figures: list[tuple[str, str]]) -> str:
    """The study's README.md."""
    parts = [f"# {record['title']}", f"Re-runs: {record['source']}", _what_ran(record)]
    for table in tables:
        parts.append(f"## {table.title}")
        parts.append(to_markdown(table).strip())
        parts.append("\n".join(f"- {note}" for note in footnotes(table)))
    for file, caption in figures:
        parts.append(f"## {caption}\n\n![{caption}]({file})")
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
    commits = sorted({_commit(cell["code"]) for cell in cells})
    lines = [
        f"- Command: `{record['command']}`",
        f"- Budget: {record['budget'] or 'the study as it stands in its file'}. {record['cost']}",
        f"- Data: `{data['name']}`, images: {images}"
        + (f" (a subset: {data['subset']})" if data["subset"] else ""),
        f"- Hardware: {'; '.join(machines)}; training took {seconds / 60:.1f} minutes in all",
        f"- Code: {', '.join(commits)}",
    ]
    return "\n".join(lines) + "\n\n" + _run_table(record)


def _machine(machine: dict[str, Any]) -> str:
    cpu = f"{machine['cores']} cores of {machine['processor']}"
    return f"{machine['gpu']}, {cpu}" if machine["gpu"] else f"{cpu}, no GPU"


def _commit(code: dict[str, Any]) -> str:
    if code["commit"] is None:
        return "not a git checkout"
    return f"commit {code['commit'][:12]}" + (" with local changes" if code["dirty"] else "")


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
            f"| {trainer['learning_rate']:g} | {', '.join(str(c['seed']) for c in cells)} |"
        )
    return "\n".join(lines)
