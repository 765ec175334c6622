"""The page of a study, `results/<study>/README.md`, from its record alone.

What was claimed, what ran, what was learned (hand-written: `evaluate.learned`), tables, pictures,
verdicts.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from evaluate.claims.command import settings, uncut
from evaluate.claims.formats import summary_line
from evaluate.claims.formats import to_markdown as verdict_table
from evaluate.claims.judge import Verdict
from evaluate.claims.page import by_kind
from evaluate.claims.schema import Reference
from evaluate.findings import collapses
from evaluate.formats import footnotes, markdown_grid, markdown_note
from evaluate.tables import Table, measured, pieces

# More metrics than these side by side, and a page cuts its table in pieces.
WIDE = 6
# So many pictures of a figure are shown; the others wait to be opened.
OPEN = 2


def page(
    record: dict[str, Any],
    tables: Sequence[Table],
    reference: Reference | None = None,
    verdicts: Sequence[Verdict] = (),
    learned: str = "",
    linked: bool = True,
) -> str:
    """The study's README.md. `verdicts` are those on the claims of `reference`, which is `linked`
    where its file lies beside the results; `learned` is what stands under that heading, filled in.
    """
    parts = [f"# {record['title']}", f"Re-runs: {record['source']}."]
    if reference:
        parts += ["## What was claimed", _claimed(reference, list(verdicts), linked)]
    parts += ["## What we ran", _what_ran(record), _run_table(record)]
    if learned:
        parts += ["## What we learned", learned]
    for table in tables:
        parts += _table(table)
    if found := collapses(record):
        parts.append("## What collapsed at this budget")
        parts.append("\n".join(f"- {line}" for line in found))
    for figure in record["figures"]:
        parts += _figure(figure)
    if verdicts:
        rests = "What each verdict rests on, what would settle it, and the rule: "
        parts += ["## Verdicts", verdict_table(list(verdicts)).strip()]
        parts.append(f"{rests}[VERDICTS.md](VERDICTS.md).")
    parts.append(
        "The numbers of every run, with configs and versions, are in [runs.json](runs.json); "
        "this page, the tables and the verdicts are made from it."
    )
    return "\n\n".join(parts) + "\n"


def _figure(figure: dict[str, Any]) -> list[str]:
    """A figure's section, of which the first pictures stand open."""
    title, shown = figure["title"], [f"![{figure['title']}]({file})" for file in figure["files"]]
    parts = [f"## {title}", *shown[:OPEN]]
    if more := shown[OPEN:]:
        count = "1 more picture" if len(more) == 1 else f"{len(more)} more pictures"
        parts += [f"<details><summary>{count}</summary>", *more, "</details>"]
    return [*parts, figure["caption"]]


def _claimed(reference: Reference, verdicts: list[Verdict], linked: bool) -> str:
    file = f"reference/{reference.study}.json"
    where = f"[{file}](../{file})" if linked else f"`results/{file}` of the project"
    told = [
        f"Of {reference.source}, every claim as data in {where}. {summary_line(verdicts)}.",
        by_kind(verdicts),
        "Each of them with its verdict stands [below](#verdicts).",
    ]
    return "\n\n".join(told)


def _table(table: Table) -> list[str]:
    """A table's section. What its columns are is folded away: it is longer than the table."""
    parts = [f"## {table.title}", *(markdown_grid(piece) for piece in pieces(table, WIDE))]
    parts.append(markdown_note(table))
    if notes := footnotes(table):
        parts.append("<details><summary>What the rows and columns are</summary>")
        parts += ["\n".join(f"- {note}" for note in notes), "</details>"]
    files = (f"[{table.name}.{kind}]({table.name}.{kind})" for kind in ("csv", "md", "tex"))
    return [*parts, f"The same table as {', '.join(files)}."]


def _what_ran(record: dict[str, Any]) -> str:
    cells = measured(record)
    data = cells[0]["data"]
    images = ", ".join(f"{count:,} {split}" for split, count in data["images"].items())
    machines = sorted({_machine(cell["machine"]) for cell in cells})
    seconds = sum(cell.get("training_seconds", 0) for cell in cells)
    lines = [
        f"- Command: `{record['command']}`",
        f"- Budget: {record['budget'] or 'the study as it stands in its file'}. "
        f"{record['cost']}" + _overridden(record["command"]),
        f"- Data: `{data['name']}`, images: {images}"
        + (f" (a subset: {data['subset']})" if data["subset"] else ""),
        f"- Hardware: {'; '.join(machines)}; training took {seconds / 60:.1f} minutes in all",
        f"- Code: trained at {_commits(cells, 'code')}; "
        f"evaluated at {_commits(cells, 'evaluation_code')}",
        f"- This page and its tables anew from [runs.json](runs.json): "
        f"`python -m evaluate tables results/{record['study']}`",
        *_missing(record),
        *_other_budgets(record),
    ]
    return "\n".join(lines)


def _missing(record: dict[str, Any]) -> list[str]:
    """Which runs of the study have no numbers here; a row that has none at all is named once."""
    told: list[str] = []
    missing = count = 0
    for row in record["rows"]:
        gone = [cell for cell in row["cells"] if cell["metrics"] is None]
        missing, count = missing + len(gone), count + len(row["cells"])
        if len(gone) == len(row["cells"]) > 1:
            how = ", ".join(dict.fromkeys(map(_how_far, gone)))
            told.append(f"{row['name']}, none of its {len(gone)} seeds ({how})")
        else:
            told += [f"{row['name']}/seed-{c['seed']} ({_how_far(c)})" for c in gone]
    return [f"- **Missing: {missing} of {count} runs:** {', '.join(told)}"] if told else []


def _how_far(cell: dict[str, Any]) -> str:
    if "config" not in cell:
        return "never started"
    return "not measured" if "training_seconds" in cell else "not trained to its end"


def _other_budgets(record: dict[str, Any]) -> list[str]:
    """The other ways through this study, each with its command and its cost."""
    if not record["budgets"]:
        return []
    # `python reproduce.py STUDY.json`, and more behind it.
    words = shlex.split(uncut(record["command"]))
    lines = ["- More, or less, of the same study:"]
    for other in record["budgets"]:
        asked = ["--budget", other["name"]] if other["name"] else []
        lines.append(f"  - `{shlex.join([*words[:3], *asked, *words[3:]])}`: {other['cost']}")
    return lines


def _overridden(command: str) -> str:
    """What the command set otherwise than the study's file, which the budget's words describe."""
    if not (found := settings(command)):
        return ""
    return f" **Overridden by `--set`, over what is said here:** `{'`, `'.join(found)}`"


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
