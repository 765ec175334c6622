"""`results/<study>/`: pictures out of run directories, and all else out of its `runs.json`."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluate.claims.check import FILE as VERDICTS
from evaluate.claims.check import Worse, compare, read_verdicts
from evaluate.claims.judge import Verdict, judge
from evaluate.claims.page import PICTURE, overview, write_verdicts
from evaluate.claims.schema import Reference, read_reference, reference_path
from evaluate.figures.draw import draw_figures
from evaluate.formats import to_csv, to_markdown
from evaluate.latex import to_latex
from evaluate.learned import FILE as LEARNED
from evaluate.learned import read_learned
from evaluate.page import page
from evaluate.record import check_record, deflate, gather, read_record
from evaluate.tables import Table, build_table, measured
from study.datasets import Dataset
from study.errors import RunFailed, StudyError, describe_os_error, one_line
from study.expansion import Study
from study.files import to_json, write_text, written_whole
from study.jsonfile import read_json_object
from study.progress import say
from study.provenance import ROOT

# What sources claim: part of the project, wherever a study's own results go.
REFERENCES = ROOT / "results" / "reference"
RECORD = "runs.json"
PAGE = "README.md"
# What tables, verdicts and pages are written as.
TEXTS = (".csv", ".md", ".tex")


def write_results(study: Study, dataset: Dataset, runs: Path, results: Path, command: str) -> Path:
    """Write `results/<study>/` from the run directories; returns the folder.

    RunFailed where no run of the study has been evaluated yet. StudyError where its LEARNED.md
    refers to what is not there. All is made before any of it is written.
    """
    record = gather(study, dataset, runs, command)
    if not measured(record):
        raise RunFailed(
            f"{runs / study.name}: no run of this study is evaluated there, so no table is made"
        )
    folder = results / study.name
    record["figures"], pictures = _draw(study, record, runs / study.name)
    made = _made(record, folder)
    stale = _pictures_of(folder) - pictures.keys()
    _write(folder, pictures | {RECORD: to_json(deflate(record)).encode()} | made)
    _remove([folder / name for name in stale] + _left_over(folder, made))
    return folder


def _draw(
    study: Study, record: dict[str, Any], runs: Path
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Draw every figure; what the record says of each (kind, name, files, title, caption), and
    the files by name."""
    with tempfile.TemporaryDirectory() as name:
        told = [
            {"kind": figure.kind, "name": figure.file} | asdict(drawn)
            for figure, drawn in draw_figures(study, record, runs, Path(name))
        ]
        return told, _contents(Path(name))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _pictures_of(folder: Path) -> set[str]:
    """The pictures that the folder's record speaks of: ours to replace."""
    if not (folder / RECORD).is_file():
        return set()
    try:
        figures = read_json_object(folder / RECORD).get("figures", [])
        return {Path(file).name for figure in figures for file in figure["files"]}
    except (StudyError, TypeError, KeyError):  # about to be written anew
        return set()


def _made(record: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """Every file of a results folder that its record (and LEARNED.md) alone makes, by name.

    Made aside, so that what goes wrong on the way leaves the folder as it was.
    """
    reference = reference_of(record)
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        tables = write_tables(record, aside)
        verdicts: Sequence[Verdict] = ()
        if reference:
            verdicts = write_verdicts(record, reference, aside, record["command"])
        learned = read_learned(folder, record, verdicts)
        shown = page(record, tables, reference, verdicts, learned, _linked(folder, reference))
        write_text(aside / PAGE, shown)
        return _contents(aside)


def _linked(folder: Path, reference: Reference | None) -> bool:
    """Whether the page can link its claims: results may lie anywhere."""
    beside = folder.resolve().parent / REFERENCES.name
    return reference is not None and (beside / f"{reference.study}.json").is_file()


def _write(folder: Path, made: dict[str, bytes]) -> None:
    for name, content in made.items():
        with written_whole(folder / name, "wb") as file:
            file.write(content)


def _left_over(folder: Path, made: dict[str, bytes]) -> list[Path]:
    """What earlier tables and verdicts left in a results folder: files of the kinds that are made
    there, which neither were made nor are linked on the page."""
    shown = made[PAGE].decode()
    return [
        path
        for path in sorted(folder.glob("*"))
        if (path.suffix in TEXTS or path.name in (VERDICTS, PICTURE))
        and path.name not in (*made, LEARNED)
        and f"]({path.name}" not in shown
        and path.is_file()
    ]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _differing(folder: Path, made: dict[str, bytes]) -> dict[Path, str]:
    """Each file that is not what is made, and how: of a picture, whose bytes are the drawing
    library's, only whether it is there."""
    found = {}
    for name, content in made.items():
        path = folder / name
        if not path.is_file():
            found[path] = "is not there"
        elif path.suffix != ".png" and path.read_bytes() != content:
            found[path] = "differs"
    return found


def remake(folders: Sequence[Path], results: Path, check: bool = False) -> dict[Path, str]:
    """Make tables, verdicts and pages of results folders (none: all of `results`) anew from their
    `runs.json` alone, and the overview in `results`, where a folder lies in it.

    Returns the files that were others or that nothing makes any more, and how; `check` writes and
    removes nothing.
    StudyError, and nothing is written, where a folder has no record or no whole one.
    """
    folders = list(folders) or sorted(path.parent for path in results.glob(f"*/{RECORD}"))
    if not folders:
        raise StudyError(f"{results}: no folder in it has a {RECORD}; reproduce.py writes them")
    every = {folder: _made_again(folder) for folder in folders}
    left = [path for folder, made in every.items() for path in _left_over(folder, made)]
    if any(folder.resolve().parent == results.resolve() for folder in folders):
        every[results] = {PAGE: _overview(results).encode()}
    found: dict[Path, str] = {}
    for folder, made in every.items():
        found |= _differing(folder, made)
    if not check:
        for folder, made in every.items():
            _write(folder, made)
        _remove(left)
    return found | dict.fromkeys(left, "is left over: nothing makes it any more")


def _made_again(folder: Path) -> dict[str, bytes]:
    """`_made` of a folder's own record."""
    record = _whole_record(folder)
    with _in_record(folder / RECORD):
        check_record(record, folder / RECORD)
        return _made(record, folder)


@contextmanager
def _in_record(path: Path) -> Iterator[None]:
    """StudyError that names the record for what goes wrong inside with one, in which anything may
    be missing or of another kind."""
    try:
        yield
    except OSError as error:
        raise StudyError(f"{path}: {describe_os_error(error)}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        kind = type(error).__name__
        raise StudyError(f"{path}: not a study's record: {kind} {error}") from error


def _whole_record(folder: Path) -> dict[str, Any]:
    """A folder's record; StudyError where there is none that a page can be made of."""
    path = folder / RECORD
    if not path.is_file():
        raise StudyError(f"{path}: not there; a folder is wanted that reproduce.py wrote")
    record = read_record(path)
    if missing := [key for key in ("figures", "budgets") if key not in record]:
        raise StudyError(
            f"{path}: no {' and no '.join(missing)}, as an earlier version wrote it; "
            "python reproduce.py STUDY --only tables writes it anew"
        )
    with _in_record(path):
        if not measured(record):
            raise StudyError(f"{path}: none of its runs has numbers")
    return record


def reference_of(record: dict[str, Any]) -> Reference | None:
    """What the study's source claims, as data; None where nobody has written it down."""
    path = reference_path(REFERENCES, record)
    return read_reference(path) if path.is_file() else None


def worse_than_committed(
    study: Study, dataset: Dataset, runs: Path, results: Path, command: str
) -> tuple[list[Verdict], list[Worse]]:
    """The verdicts that the run directories give now, and those worse than the committed ones.

    Nothing is written, and so nothing is drawn: the figures are the committed ones. StudyError
    where the study has no committed verdicts, or no record beside them.
    """
    committed = read_verdicts(results / study.name)
    folder = results / study.name
    with _in_record(folder / RECORD):
        drawn = [
            {key: figure[key] for key in ("name", "files")}
            for figure in _whole_record(folder)["figures"]
        ]
    record = gather(study, dataset, runs, command) | {"figures": drawn}
    reference = reference_of(record)
    verdicts = judge(record, reference, command) if reference else []
    return verdicts, compare(committed, verdicts)


def write_overview(results: Path) -> None:
    """`results/README.md`: how many claims of each source came out, those never run included."""
    write_text(results / PAGE, _overview(results))


def _overview(results: Path) -> str:
    references = [read_reference(path) for path in sorted(REFERENCES.glob("*.json"))]
    judged = {}
    for path in sorted(results.glob(f"*/{RECORD}")):
        try:
            record = read_record(path)
            with _in_record(path):
                check_record(record, path)
                if (reference := reference_of(record)) is not None:
                    judged[path.parent.name] = judge(record, reference, record["command"])
        except StudyError as error:  # another study's: no reason to lose this one's tables
            say(f"left out of {results / PAGE}: {one_line(error)}")
    configured = {path.stem for path in (ROOT / "configs" / "studies").glob("*.json")}
    return overview(references, judged, configured)


def write_tables(record: dict[str, Any], folder: Path) -> list[Table]:
    """Each table of a record as CSV, Markdown and LaTeX."""
    tables = [build_table(record, table) for table in record["tables"]]
    for table in tables:
        write_text(folder / f"{table.name}.csv", to_csv(table))
        write_text(folder / f"{table.name}.md", to_markdown(table))
        latex = to_latex(table, record["study"], record["title"])
        write_text(folder / f"{table.name}.tex", latex)
    return tables
