"""What README.md and DEVIATIONS.md point to is there."""

import re

import pytest

from study.provenance import ROOT

README = (ROOT / "README.md").read_text()
DEVIATIONS = (ROOT / "DEVIATIONS.md").read_text()


def test_every_test_named_in_deviations_exists() -> None:
    file = None
    named = re.findall(r"`(tests/\w+\.py)?(?:::(\w+))?`", DEVIATIONS)
    assert len(named) > 10
    for path, test in named:
        file = ROOT / path if path else file
        assert file is not None and file.is_file(), path
        if test:
            assert f"def {test}(" in file.read_text(), test


@pytest.mark.parametrize("text", [README, DEVIATIONS], ids=["README", "DEVIATIONS"])
def test_links_lead_to_files(text: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert target[1:] in [heading.lower().replace(" ", "-") for heading in headings]
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_configs_named_in_the_readme_exist() -> None:
    for path in re.findall(r"configs/[\w/]+\.json", README):
        assert (ROOT / path).is_file(), path


def test_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
