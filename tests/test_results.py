"""The committed folders of `results/`: what runs.json gives, linked, not too big."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from evaluate.claims.formats import WORDS
from evaluate.report import remake
from study.provenance import ROOT

RESULTS = ROOT / "results"


def committed_folders() -> list[Path]:
    """Those that git knows: a study that somebody ran here adds another."""
    listed = ["git", "ls-files", "--", "results/*/runs.json"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / line for line in done.stdout.split()] or RESULTS.glob("*/runs.json")
    return sorted(path.parent for path in paths)


FOLDERS = committed_folders()
PAGES = [RESULTS / "README.md", *(page for folder in FOLDERS for page in folder.glob("*.md"))]
# Of all of `results/`, so that a clone stays small.
MEGABYTES = 15
TEXTS = (".md", ".csv", ".tex", ".json")

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def links(page: Path) -> set[str]:
    """What a page links or shows, without anchors and other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return {link.split("#")[0] for link in found if not link.startswith(("#", "http"))}


def test_there_are_committed_results() -> None:
    assert {path.name for path in FOLDERS} >= {"shapes", "mnist-small", "celeba64-small"}


def test_they_are_what_their_records_give() -> None:
    """As `python -m evaluate tables --check` has it."""
    assert remake([], RESULTS, check=True) == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    for link in links(page):
        assert (page.parent / link).is_file(), link


@each_folder
def test_every_picture_is_one_and_stands_on_a_page(folder: Path) -> None:
    shown = set().union(*(links(page) for page in folder.glob("*.md")))
    pictures = {path.name for path in folder.iterdir() if path.suffix not in TEXTS}
    assert len(pictures) >= 3 and pictures <= shown
    for name in pictures:
        assert (folder / name).read_bytes()[:4] == b"\x89PNG"


def test_they_are_small() -> None:
    size = sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file())
    assert size < MEGABYTES * 1e6


def test_the_readme_counts_the_verdicts_of_every_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| \[([\w-]+)\]\(results/([\w-]+)/\w+\.md\) \|(.+)\|$", readme, re.M)
    counted = {}
    for name, folder, numbers in lines:
        assert name == folder
        counted[name] = [int(number) for number in numbers.split("|")]
    committed = {}
    for folder in FOLDERS:
        verdicts = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
        counts = [verdicts["counts"][word] for word in WORDS]
        assert counts == [sum(v["verdict"] == w for v in verdicts["verdicts"]) for w in WORDS]
        committed[folder.name] = [sum(counts), *counts]
    assert counted == committed
