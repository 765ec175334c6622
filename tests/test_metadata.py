"""environment.yml and CITATION.cff say what requirements.lock, pyproject.toml and LICENSE say."""

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from study.provenance import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Package -> its version and the machines that it is for; a package named twice fails."""
    found: dict[str, tuple[str, str]] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is there twice"
        found[name] = (str(requirement.specifier), str(requirement.marker))
    return found


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_gets_the_packages_of_the_lock(environment: dict) -> None:
    *_, by_pip = environment["dependencies"]
    lock = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line]
    locked = pins([line for line in lock if not line.startswith("#")])
    listed = pins(by_pip["pip"])
    assert listed.keys() == locked.keys(), "'make environment' writes the lock's pins"
    for name, pin in locked.items():
        assert listed[name] == pin, f"{name}: 'make environment' writes the lock's pins"


def test_conda_gets_a_python_that_the_study_runs_on(environment: dict) -> None:
    assert environment["name"] == PROJECT["name"]
    # Without nodefaults conda adds channels that a company has to pay for.
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    python, pip, by_pip = environment["dependencies"]
    name, _, version = python.partition("=")
    assert (name, pip, list(by_pip)) == ("python", "pip", ["pip"])
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    assert "://" not in (ROOT / "environment.yml").read_text()


def test_citation_is_of_this_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "abstract", "keywords"} <= citation.keys()
    assert citation["title"].startswith(PROJECT["name"])
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    name, version = citation["license"].split("-")
    head = (ROOT / "LICENSE").read_text()[:200]
    assert f"{name} License" in head and f"Version {version}" in head
    (pythae,) = citation["references"]
    assert [author["family-names"] for author in pythae["authors"]] == [
        "Chadebec",
        "Vincent",
        "Allassonnière",
    ]
