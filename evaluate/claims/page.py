"""`results/<study>/VERDICTS.md` and its tables, and the overview of all references."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from evaluate.claims.check import write_verdict_data
from evaluate.claims.figure import draw_verdicts
from evaluate.claims.formats import WORDS, counts, summary_line, to_csv, to_latex, to_markdown
from evaluate.claims.judge import Verdict, judge
from evaluate.claims.rule import RULE
from evaluate.claims.schema import Reference
from study.files import write_text

PICTURE = "verdicts.png"


def write_verdicts(
    record: dict[str, Any], reference: Reference, folder: Path, command: str
) -> list[Verdict]:
    """Judge every claim and write `verdicts.{json,csv,md,tex,png}` and `VERDICTS.md`."""
    verdicts = judge(record, reference, command)
    title = record.get("title", reference.study)
    write_text(folder / "verdicts.csv", to_csv(verdicts))
    write_text(folder / "verdicts.md", to_markdown(verdicts))
    write_text(folder / "verdicts.tex", to_latex(verdicts, record["study"], title))
    picture = draw_verdicts(verdicts, reference, record["study"], folder / PICTURE)
    if not picture:
        (folder / PICTURE).unlink(missing_ok=True)
    write_text(folder / "VERDICTS.md", verdict_page(verdicts, reference, title, picture))
    # Last: `--check` reads this one, and finds it beside what was made of it.
    write_verdict_data(folder, record["study"], command, verdicts)
    return verdicts


def verdict_page(
    verdicts: list[Verdict], reference: Reference, title: str, picture: bool = False
) -> str:
    """The page: counts, ours beside theirs, what each verdict rests on, and the rule."""
    parts = [
        f"# {title}: claims and verdicts",
        f"Of {reference.source}. {summary_line(verdicts)}.",
        by_kind(verdicts),
        to_markdown(verdicts).strip(),
    ]
    if picture:
        parts += [
            f"![Numbers of the source beside ours]({PICTURE})",
            "Every number that both have, ours over the source's: the grey bar is the source's "
            "rounding, the point is ours with its interval.",
        ]
    parts += ["## What the verdicts rest on", _reasons(verdicts)]
    if against := _contradictions(verdicts):
        parts += ["## Where the source contradicts itself", against]
    parts += ["## The rule", "\n".join(f"- {sentence}" for sentence in RULE)]
    if reference.notes:
        parts += ["## Of the source", "\n".join(f"- {note}" for note in reference.notes)]
    parts.append(
        "The same as [verdicts.csv](verdicts.csv), [verdicts.md](verdicts.md), "
        "[verdicts.tex](verdicts.tex) and [verdicts.json](verdicts.json)."
    )
    return "\n\n".join(parts) + "\n"


_KINDS = {
    "value": "numbers",
    "trend": "trends",
    "order": "orders",
    "exists": "bounds",
    "figure": "figures",
    "word": "not measurable yet",
}


def by_kind(verdicts: list[Verdict]) -> str:
    """How many claims of each kind there are, and what became of them."""
    lines = ["| | claims | " + " | ".join(WORDS) + " |", "| :-- | --: |" + " --: |" * len(WORDS)]
    for kind, name in {**_KINDS, "": "**all**"}.items():
        own = [v for v in verdicts if kind in ("", v.claim.kind)]
        if own:
            numbers = [len(own), *counts(own).values()]
            lines.append(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def _reasons(verdicts: list[Verdict], most: int | None = None) -> str:
    """One line for all claims with one reason; of them at most so many are named."""
    grouped: dict[tuple[str, str, str | None], list[str]] = {}
    for verdict in verdicts:
        key = (verdict.verdict, verdict.why, verdict.command)
        grouped.setdefault(key, []).append(verdict.claim.id)
    lines = []
    for (word, why, command), ids in sorted(grouped.items(), key=lambda g: WORDS.index(g[0][0])):
        many = f" ({len(ids)})" if len(ids) > 1 else ""
        closes = f" To settle it: {command}." if command else ""
        left = f" and {len(ids) - most} more" if most and len(ids) > most else ""
        lines.append(f"- **{word}**{many}: {why}.{closes} Of: {', '.join(ids[:most])}{left}.")
    return "\n".join(lines)


def _contradictions(verdicts: list[Verdict]) -> str:
    by_id = {verdict.claim.id: verdict for verdict in verdicts}
    pairs = []
    for verdict in verdicts:
        other = by_id.get(verdict.claim.contradicts or "")
        if other and {verdict.claim.id, other.claim.id} not in [set(pair) for pair in pairs]:
            pairs.append((verdict.claim.id, other.claim.id))
    lines = []
    for one, two in pairs:
        a, b = by_id[one], by_id[two]
        lines.append(
            f"- {a.claim.text} ({a.claim.place}): **{a.verdict}**. "
            f"{b.claim.text} ({b.claim.place}): **{b.verdict}**."
        )
    return "\n".join(lines)


def overview(
    references: list[Reference], judged: dict[str, list[Verdict]], configured: Collection[str]
) -> str:
    """Every source's claims, counted: a line a study, those that are not configured, too.

    `judged`: name of a results folder (`celeba64-small`) -> its verdicts. A reference without a
    folder has all of its claims open. `configured`: the names in configs/studies/.
    """
    heads = ["study", "claims", *counts([])]
    lines = ["| " + " | ".join(heads) + " |", "| :-- |" + " --: |" * (len(heads) - 1)]
    for reference in references:
        own = {
            name: verdicts
            for name, verdicts in judged.items()
            if [v.claim for v in verdicts] == reference.claims
        }
        for name, verdicts in own.items() or {reference.study: _unrun(reference, ())}.items():
            shown = f"[{name}]({name}/VERDICTS.md)" if own else f"{name} (not run)"
            numbers = [len(verdicts), *counts(verdicts).values()]
            lines.append(f"| {shown} | " + " | ".join(map(str, numbers)) + " |")
    parts = ["# Claims and verdicts", "\n".join(lines)]
    if unrun := _unrun_lines(references, judged, configured):
        parts += ["## Studies that were not run", unrun]
    parts += ["## The rule", "\n".join(f"- {sentence}" for sentence in RULE)]
    return "\n\n".join(parts) + "\n"


def _unrun(reference: Reference, configured: Collection[str]) -> list[Verdict]:
    file = f"configs/studies/{reference.study}.json"
    write = "" if reference.study in configured else f"write {file}, then "
    return judge(None, reference, f"{write}python reproduce.py {file}")


def _unrun_lines(
    references: list[Reference],
    judged: dict[str, list[Verdict]],
    configured: Collection[str],
) -> str:
    done = [[v.claim for v in verdicts] for verdicts in judged.values()]
    return "\n\n".join(
        f"### {reference.study}\n\nOf {reference.source}. "
        f"[All of its claims](reference/{reference.study}.json).\n\n"
        + _reasons(_unrun(reference, configured), most=6)
        for reference in references
        if reference.claims not in done
    )
