"""`results/<study>/`: tables, figures, and a README that shows them with budget and command."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluate.pictures import image_rows, loss_curves
from evaluate.record import gather
from evaluate.run import SAMPLER
from evaluate.tables import Table, build_table, footnotes, measured, to_csv, to_markdown
from study.datasets import Dataset
from study.errors import RunFailed
from study.expansion import Study
from study.files import write_json, write_text
from study.npz import open_array
from study.rundir import RunDirectory
from train.history import read_history


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
    write_json(folder / "runs.json", record)
    figures = _figures(_shown(study, record, runs / study.name), study, folder)
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


Shown = list[tuple[str, list[RunDirectory]]]


def _shown(study: Study, record: dict[str, Any], runs: Path) -> Shown:
    """Label and measured run directories of each row that has any."""
    rows = []
    for row, cells in zip(record["rows"], study.rows().values(), strict=True):
        found = [
            RunDirectory(runs / cell.directory)
            for cell, gathered in zip(cells, row["cells"], strict=True)
            if gathered["metrics"]
        ]
        if found:
            rows.append((row["label"], found))
    return rows


def _figures(shown: Shown, study: Study, folder: Path) -> list[tuple[str, str]]:
    """Draw what the run directories allow; file name and caption of each figure."""
    return _image_figures(shown, study, folder) + _curve_figure(shown, study, folder)


def _image_figures(shown: Shown, study: Study, folder: Path) -> list[tuple[str, str]]:
    """Reconstructions and generations of each row's first run, of the same originals."""
    made = {
        "reconstructions": f"Originals over reconstructions, {study.split} split",
        "generations": f"Generations, z ~ {SAMPLER}, the same z for all models of one latent size",
    }
    files = [(label, found[0].pictures) for label, found in shown]

    def arrays(path: Path, kind: str) -> np.ndarray:
        return np.array(open_array(path, f"{study.split}.{kind}"))

    # A run with another number of pictures shows other images of the split.
    index = arrays(files[0][1], "index")
    files = [(label, path) for label, path in files if np.array_equal(arrays(path, "index"), index)]
    for kind, caption in made.items():
        rows = [(label, arrays(path, kind)) for label, path in files]
        if kind == "reconstructions":
            rows.insert(0, ("original", arrays(files[0][1], "originals")))
        image_rows(rows, f"{study.name}: {caption}", folder / f"{kind}.png")
    return [(f"{kind}.png", caption) for kind, caption in made.items()]


def _curve_figure(shown: Shown, study: Study, folder: Path) -> list[tuple[str, str]]:
    """Losses over epochs, all seeds of a row in one panel."""
    curves = [(label, [read_history(d.history) for d in found]) for label, found in shown]
    caption = "Losses over epochs, each model's own loss; train solid, eval dashed"
    loss_curves(curves, f"{study.name}: {caption}", folder / "loss_curves.png")
    return [("loss_curves.png", caption)]


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
    lines = [
        f"- Command: `{record['command']}`",
        f"- Budget: {record['budget'] or 'the study as it stands in its file'}. {record['cost']}",
        f"- Data: `{data['name']}`, images: {images}"
        + (f" (a subset: {data['subset']})" if data["subset"] else ""),
        f"- Hardware: {'; '.join(machines)}; training took {seconds / 60:.1f} minutes in all",
        f"- Code: trained at {_commits(cells, 'code')}; "
        f"evaluated at {_commits(cells, 'evaluation_code')}",
    ]
    return "\n".join(lines) + "\n\n" + _run_table(record)


def _machine(machine: dict[str, Any]) -> str:
    cpu = f"{machine['cores']} cores of {machine['processor']}"
    return f"{machine['gpu']}, {cpu}" if machine["gpu"] else f"{cpu}, no GPU"


def _commits(cells: list[dict[str, Any]], key: str) -> str:
    return ", ".join(sorted({_commit(cell[key]) for cell in cells}))


def _commit(code: dict[str, Any]) -> str:
    if code["commit"] is None:
        return "no commit (not a git checkout)"
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
