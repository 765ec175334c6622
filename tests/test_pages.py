"""A study's page, what stands on it by hand, and `python -m evaluate tables`."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluate.claims.judge import judge
from evaluate.formats import format_cell
from evaluate.learned import fill
from evaluate.page import page
from evaluate.record import read_record
from evaluate.report import reference_of, remake
from evaluate.tables import TableCell, build_table
from study.errors import StudyError
from study.files import write_json
from study.jsonfile import read_json_object
from study.provenance import ROOT

SHAPES = ROOT / "results/shapes"
MINE = "Its VAE covers {vae/prior/coverage@t:.0%}: {vae-better-coverage:verdict}.\n"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return read_record(SHAPES / "runs.json")


@pytest.fixture(scope="module")
def remade(tmp_path_factory) -> Path:
    """A folder of results with the committed study `shapes` in it, made as it is made now, beside
    its claims."""
    folder = tmp_path_factory.mktemp("remade")
    shutil.copytree(SHAPES, folder / "shapes")
    (folder / "reference").mkdir()
    shutil.copy(ROOT / "results/reference/shapes.json", folder / "reference")
    remake([folder / "shapes"], folder)
    return folder


@pytest.fixture
def results(remade: Path, tmp_path: Path) -> Path:
    return shutil.copytree(remade, tmp_path / "results")


def tables(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "evaluate", "tables", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def headings(text: str) -> list[str]:
    return [line[3:] for line in text.splitlines() if line.startswith("## ")]


# --- the page ------------------------------------------------------------------------------------


def test_its_parts_stand_in_their_order(record) -> None:
    reference = reference_of(record)
    verdicts = judge(record, reference, record["command"])
    made = [build_table(record, table) for table in record["tables"]]
    shown = page(record, made, reference, verdicts, "It learned.")
    titles = [table.title for table in made]
    pictures = [figure["title"] for figure in record["figures"]]
    first = ["What was claimed", "What we ran", "What we learned"]
    assert headings(shown) == [*first, *titles, *pictures, "Verdicts"]
    claimed = shown.split("## What we ran")[0]
    assert f"{len(reference.claims)} claims: " in claimed and "../reference/shapes.json" in claimed
    for verdict in verdicts:
        assert f"| {verdict.claim.id} " in shown.split("## Verdicts")[1]


def test_a_study_without_claims_or_lessons_has_no_such_parts(record) -> None:
    shown = headings(page(record, []))
    assert shown == ["What we ran", *(figure["title"] for figure in record["figures"])]


def test_it_says_what_else_there_is_to_run_at_which_cost(record) -> None:
    small = record | {
        "command": "python reproduce.py configs/studies/x.json --budget small --raw RAW_FOLDER",
        "budgets": [{"name": None, "cost": "A day."}, {"name": "large", "cost": "A week."}],
    }
    shown = page(small, []).splitlines()
    assert "  - `python reproduce.py configs/studies/x.json --raw RAW_FOLDER`: A day." in shown
    more = "`python reproduce.py configs/studies/x.json --budget large --raw RAW_FOLDER`"
    assert f"  - {more}: A week." in shown
    assert "More, or less" not in page(small | {"budgets": []}, [])


def test_it_says_which_runs_are_missing(record) -> None:
    made = copy.deepcopy(record)
    one, two, three = made["rows"][:3]
    one["cells"][0] = {"seed": 0, "metrics": None}
    two["cells"][0]["metrics"] = None
    three["cells"][0]["metrics"] = None
    del three["cells"][0]["training_seconds"]
    (line,) = (line for line in page(made, []).splitlines() if "Missing" in line)
    count = sum(len(row["cells"]) for row in made["rows"])
    assert line == (
        f"- **Missing: 3 of {count} runs:** {one['name']}/seed-0 (never started), "
        f"{two['name']}/seed-0 (not measured), {three['name']}/seed-0 (not trained to its end)"
    )
    assert "Missing" not in page(record, [])


def test_a_row_without_any_seed_is_named_once(record) -> None:
    made = copy.deepcopy(record)
    one, two = made["rows"][:2]
    one["cells"] = [{"seed": seed, "metrics": None} for seed in range(5)]
    two["cells"] = [two["cells"][0], {"seed": 1, "metrics": None}]
    (line,) = (line for line in page(made, []).splitlines() if "Missing" in line)
    count = sum(len(row["cells"]) for row in made["rows"])
    assert line == (
        f"- **Missing: 6 of {count} runs:** {one['name']}, none of its 5 seeds (never started), "
        f"{two['name']}/seed-1 (never started)"
    )


@pytest.mark.parametrize(
    ("files", "words"), [(2, ""), (3, "1 more picture"), (9, "7 more picture")]
)
def test_many_pictures_of_a_figure_are_folded_away(record, files: int, words: str) -> None:
    names = [f"three-{number}.png" for number in range(files)]
    figure = {"title": "Three", "files": names, "caption": "Of many rows."}
    shown = page(record | {"figures": [figure]}, []).split("## Three")[1]
    opened, _, folded = shown.partition("<details>")
    assert [f"![Three]({name})" in opened for name in names] == [n < 2 for n in range(files)]
    assert bool(folded) == bool(words) and f"<summary>{words}" * bool(words) in folded
    assert all(f"\n\n![Three]({name})\n\n" in shown for name in names)
    assert shown.index("Of many rows.") > shown.find("</details>")


def test_the_claims_are_linked_where_they_are(results: Path) -> None:
    link = "](../reference/shapes.json)"
    assert link in (results / "shapes/README.md").read_text()
    shutil.rmtree(results / "reference")
    remake([], results)
    shown = (results / "shapes/README.md").read_text()
    assert link not in shown and "`results/reference/shapes.json` of the project" in shown


# --- what stands on it by hand -------------------------------------------------------------------


def filled(record: dict[str, Any], text: str) -> str:
    verdicts = judge(record, reference_of(record), record["command"])
    return fill(text, record, verdicts, "LEARNED.md")


def test_placeholders_are_numbers_of_the_record(record) -> None:
    verdicts = {v.claim.id: v for v in judge(record, reference_of(record), record["command"])}
    claim = verdicts["vae-coverage"]
    assert filled(record, "a {vae-coverage} b") == f"a {claim.ours} b"
    assert filled(record, "{vae-coverage:verdict}, {vae-coverage:source}") == (
        f"{claim.verdict}, {claim.theirs}"
    )
    (row,) = (row for row in record["rows"] if row["name"] == "vae")
    means = [cell["metrics"]["MSE"]["mean"] for cell in row["cells"]]
    mean = sum(means) / len(means)
    assert filled(record, "{vae/MSE:.3e}") == f"{mean:.3e}".replace("-", "−")
    samples = [c["generations"]["prior"]["metrics"]["diversity"]["mean"] for c in row["cells"]]
    share = f"{sum(samples) / len(samples):.0%}"
    assert filled(record, "{vae/prior/diversity:.0%}") == share


def test_a_placeholder_is_the_cell_of_the_table(record) -> None:
    table = next(table for table in record["tables"] if "MSE" in table["metrics"])
    made = build_table(record, table)
    number = [column.key for column in made.columns].index("MSE")
    for row, known in zip(made.rows, record["rows"], strict=True):
        cell = row.cells[number]
        assert isinstance(cell, TableCell)
        assert filled(record, f"{{{known['name']}/MSE}}") == format_cell(cell)
    reference = next(row for row in made.references if row.label == "mean image")
    assert filled(record, "{mean_image/MSE}") == format_cell(reference.cells[number])


def test_what_is_known_and_not_measured_is_a_dash(record) -> None:
    assert filled(record, "{ae/KL} {ae/KL:.2f} {vae/pixelcnn/MSE}") == "– – –"


def test_thousands_have_commas_where_they_are_asked_for(record) -> None:
    shown = filled(record, "{vae/BCE:,.1f} {vae/BCE:f} {vae/BCE:.3g}").split()
    cells = next(row for row in record["rows"] if row["name"] == "vae")["cells"]
    mean = sum(cell["metrics"]["BCE"]["mean"] for cell in cells) / len(cells)
    assert shown == [f"{mean:,.1f}", f"{mean:f}", f"{mean:.3g}"]


def test_braces_are_doubled(record) -> None:
    assert filled(record, "$x_{{i}}$") == "$x_{i}$"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{vae-coverag}", "no claim of that id .did you mean 'vae-coverage'"),
        ("{vae-coverage:words}", "':words' is not one of :verdict, :source"),
        ("{vea/MSE}", "no row 'vea' .did you mean 'vae'.*there are ae, "),
        ("{vae/MSEE}", "no metric 'MSEE' .did you mean 'MSE'"),
        ("{vae/priors/MSE}", "no sampler 'priors'; there are .*prior"),
        ("{vae/prior/a/MSE}", "row/metric or row/sampler/metric is wanted"),
        ("{vae/MSE:.2q}", "':.2q' is no format of a number"),
        ("{vae/MSE:x<9999}", "':x<9999' is no format of a number, as :.2f"),
        ("{vae/MSE:.2%%}", "':.2%%' is no format"),
        (r"$\frac{1}{2}$", r"'\{1\}': no claim of that id .braces .* are doubled: \{\{1\}\}."),
        (
            r"$\frac{width/b}{2}$",
            r"'\{width/b\}': no row 'width' .braces .* are doubled: \{\{width/b\}\}.",
        ),
        ("{}", "no claim of that id"),
        ("{vae", "a single '{'; a brace is written {{"),
        ("vae}", "a single '}'; a brace is written }}"),
    ],
)
def test_an_unknown_placeholder_is_a_line_that_names_it(record, text, words) -> None:
    with pytest.raises(StudyError, match=rf"^LEARNED.md:2: .*{words}"):
        filled(record, f"One line.\nThen {text}.\n")


# --- python -m evaluate tables -------------------------------------------------------------------


def test_everything_comes_from_the_record_and_the_prose(results: Path) -> None:
    folder = results / "shapes"
    (folder / "LEARNED.md").write_text(MINE)
    remake([folder], results)
    (results / "README.md").unlink()
    before = contents(folder)
    prose = re.search(rb"## What we learned\n\nIts VAE covers \d+%: \w+", before["README.md"])
    assert prose, "filled in"
    assert before["LEARNED.md"] == MINE.encode()
    for path in folder.iterdir():
        if path.name not in ("runs.json", "LEARNED.md") and path.suffix != ".png":
            path.unlink()
    checked = tables("--results", results, "--check")
    lines = checked.stdout.splitlines()
    assert checked.returncode == 1 and checked.stderr == ""
    texts = {name for name in before if not name.endswith(".png")} - {"runs.json", "LEARNED.md"}
    gone = [*(folder / name for name in texts), results / "README.md"]
    assert sorted(lines) == sorted(f"{path}: is not there" for path in gone)
    assert contents(folder).keys() == before.keys() - texts, "--check writes nothing"
    made = tables("--results", results)
    assert made.returncode == 0
    assert sorted(made.stdout.splitlines()) == sorted(f"made anew: {path}" for path in gone)
    assert contents(folder) == before
    assert remake([], results, check=True) == {}


def test_a_number_that_changed_is_noticed(results: Path) -> None:
    file = results / "shapes/runs.json"
    record = read_json_object(file)
    record["rows"][0]["cells"][0]["metrics"]["MSE"]["mean"] *= 2
    write_json(file, record)
    found = remake([results / "shapes"], results, check=True)
    names = {path.name for path, how in found.items() if how == "differs"}
    assert {"README.md", "reconstruction.csv", "reconstruction.md", "reconstruction.tex"} <= names
    assert not any(path.suffix == ".png" for path in found)


def test_what_nothing_makes_is_left_over(results: Path) -> None:
    folder = results / "shapes"
    (folder / "LEARNED.md").write_text("More in [my notes](notes.md).\n")
    for name in ("notes.md", "old.csv", "old.md", "old.tex", "data.npz", "mine.png"):
        (folder / name).touch()
    found = remake([], results, check=True)
    left = {path.name for path, how in found.items() if "left over" in how}
    assert left == {"old.csv", "old.md", "old.tex"} and (folder / "old.csv").exists()
    remake([], results)
    there = {path.name for path in folder.iterdir()}
    assert not left & there and {"notes.md", "data.npz", "mine.png", "LEARNED.md"} <= there
    assert remake([], results, check=True) == {}


def test_verdicts_without_claims_are_left_over(results: Path, monkeypatch) -> None:
    monkeypatch.setattr("evaluate.report.REFERENCES", results)
    folder = results / "shapes"
    verdicts = {path.name for path in folder.iterdir() if path.stem.lower() == "verdicts"}
    assert {"VERDICTS.md", "verdicts.json", "verdicts.png", "verdicts.tex"} < verdicts
    found = remake([folder], results, check=True)
    assert {path.name for path, how in found.items() if "left over" in how} == verdicts
    remake([folder], results)
    assert not any((folder / name).exists() for name in verdicts)


@pytest.mark.parametrize("key", ["command", "study", "tables"])
def test_a_broken_neighbour_is_left_out_of_the_overview(results, key, capsys, monkeypatch) -> None:
    monkeypatch.setattr("evaluate.report.REFERENCES", results / "reference")
    claims = read_json_object(results / "reference/shapes.json") | {"study": "other"}
    write_json(results / "reference/other.json", claims)
    shutil.copytree(results / "shapes", results / "other")
    file = results / "other/runs.json"
    write_json(file, read_json_object(file) | {"study": "other"})
    broken(results / "other", key)
    (results / "shapes/README.md").unlink()
    remake([results / "shapes"], results)
    heard = capsys.readouterr().err
    assert heard.count("\n") == 1 and f"README.md: {file}: not a study's record: KeyError" in heard
    assert (results / "shapes/README.md").is_file()
    assert "](shapes/VERDICTS.md)" in (results / "README.md").read_text()


def test_a_folder_elsewhere_leaves_the_overview_alone(results: Path) -> None:
    (results / "README.md").unlink()
    assert remake([results / "shapes"], ROOT / "results", check=True) == {}
    remake([results / "shapes"], ROOT / "results")
    assert not (results / "README.md").exists()


def broken(folder: Path, how: str) -> None:
    file = folder / "runs.json"
    if how == "none":
        file.unlink()
    elif how == "cut":
        file.write_text(file.read_text()[:1000])
    elif how == "prose":
        (folder / "LEARNED.md").write_text("{vae/mse}")
    elif how == "bytes":
        (folder / "LEARNED.md").write_bytes(b"\xff\xfe")
    else:
        record = json.loads(file.read_text())
        if how == "empty":
            record["rows"] = []
        elif how == "number":
            record["rows"][0]["cells"][0]["metrics"]["MSE"]["mean"] = "x"
        elif how == "quote":
            record["command"] += " --set 'a"
        elif how == "path":
            record["tables"][0]["name"] = "../x"
        elif how == "renamed":
            record["study"] = "../shapes"
        else:
            del record[how]
        write_json(file, record)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("none", "runs.json: not there; a folder is wanted that reproduce.py wrote"),
        ("cut", "runs.json: "),
        ("figures", "runs.json: no figures, as an earlier version wrote it"),
        ("title", "runs.json: not a study's record: KeyError 'title'"),
        ("tables", "runs.json: not a study's record: KeyError 'tables'"),
        ("empty", "runs.json: none of its runs has numbers"),
        ("number", "runs.json: not a study's record: ValueError could not convert"),
        ("quote", "runs.json: not a study's record: ValueError No closing quotation"),
        ("path", "runs.json: tables.0: name: "),
        ("renamed", "runs.json: study: '../shapes' is wanted to be 'shapes', the folder's name"),
        ("prose", "LEARNED.md:1: '{vae/mse}': no metric 'mse'"),
        ("bytes", "LEARNED.md: not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_a_line_and_nothing_is_written(results, how, words) -> None:
    broken(results / "shapes", how)
    before = contents(results / "shapes")
    around = sorted(results.rglob("*"))
    with pytest.raises(StudyError) as caught:
        remake([results / "shapes"], results)
    assert words in str(caught.value) and caught.value.status == 2
    assert contents(results / "shapes") == before and sorted(results.rglob("*")) == around


def test_what_is_typed_wrong_is_one_line(tmp_path: Path) -> None:
    done = tables("--results", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"evaluate: {tmp_path}: no folder in it has a runs.json; reproduce.py writes them\n"
    )
    assert not list(tmp_path.iterdir())
