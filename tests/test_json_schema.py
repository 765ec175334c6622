"""configs/schema/: current, and of one mind with what really checks the config files."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from configs.make_schemas import FOLDER, schemas
from data_prep.options import check_options
from evaluate.tables import check_tables
from study.clusters import load_cluster
from study.errors import StudyError
from study.expansion import load_study
from study.overrides import apply_overrides
from study.provenance import ROOT
from study.runs import load_run
from tests import made
from tests.test_clusters import BAD as BAD_CLUSTERS
from tests.test_clusters import LIMITS
from tests.test_config import BAD as BAD_RUNS

CONFIGS = sorted(path for path in ROOT.glob("configs/**/*.json") if path.parent != FOLDER)
KINDS = {"runs": "run", "studies": "study", "clusters": "cluster"}


def kind_of(path: Path) -> str:
    return KINDS[path.relative_to(ROOT / "configs").parts[0]]


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    return {
        kind: Draft202012Validator(json.loads((FOLDER / f"{kind}.schema.json").read_text()))
        for kind in KINDS.values()
    }


def test_files_are_current() -> None:
    made_now = schemas()
    assert {path.name for path in FOLDER.iterdir()} == made_now.keys()
    for name, text in made_now.items():
        # No `==` in the assert: pytest would take long to show how two long texts differ.
        same = (FOLDER / name).read_text(encoding="utf-8") == text
        assert same, f"{name} is old: 'make schemas' writes it"


def test_schemas_are_schemas(validators) -> None:
    for validator in validators.values():
        Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_names_its_schema_and_fits_it(path: Path, validators) -> None:
    config = json.loads(path.read_text())
    kind = kind_of(path)
    assert (path.parent / config["$schema"]).resolve() == FOLDER / f"{kind}.schema.json"
    assert [error.message for error in validators[kind].iter_errors(config)] == []


# Bad run files that JSON Schema cannot tell from good ones: what is wrong depends on several keys,
# or only Pythae and torch know it.
BEYOND_RUN_SCHEMA = {
    "optimizer unknown",
    "noise in a VAE",
    "MMD in an AE",
    "optimizer parameters cut short",
    "scheduler without its parameters",
    "scheduler step of 0",
    "kernels twice",
}


@pytest.mark.parametrize("case", BAD_RUNS, ids=str)
def test_bad_run_files_are_bad_by_the_schema_too(case: str, validators) -> None:
    model, changes, _ = BAD_RUNS[case]
    fits = validators["run"].is_valid(made.run_config(model, **changes))
    assert fits == (case in BEYOND_RUN_SCHEMA)


@pytest.mark.parametrize("case", BAD_CLUSTERS, ids=str)
def test_bad_cluster_files_are_bad_by_the_schema_too(case: str, validators) -> None:
    changes, _ = BAD_CLUSTERS[case]
    # A JSON Schema cannot compare two numbers.
    beyond = case == "shorter than the warning"
    assert validators["cluster"].is_valid({"stages": LIMITS} | changes) == beyond


VAEGAN = {
    "model": {"name": "VAEGANConfig", "latent_dim": 4, "reconstruction_layer": 3},
    "trainer": {"name": "CoupledOptimizerAdversarialTrainerConfig", "decoder_learning_rate": 1e-3},
}
RUNS: dict[str, tuple[dict[str, Any], bool]] = {
    "as made": ({}, True),
    "whole number for a float": ({"model.beta": 4}, True),
    "all of the evaluation": (
        {"evaluation": {"split": "eval", "likelihood": {"name": "gaussian", "sigma": 2}}},
        True,
    ),
    "input_dim": ({"model.input_dim": [1, 28, 28]}, True),
    "null where it may be": ({"model.input_dim": None, "trainer.steps_saving": None}, True),
    "optimizer_params": ({"trainer.optimizer_params": {"betas": [0.5, 0.9]}}, True),
    "what Pythae saves": ({"trainer.world_size": -1, "trainer.output_dir": None}, True),
    "another network": ({"networks": {"name": "convnet28", "width": 4}}, True),
    "null that Pythae saves": ({"trainer.scheduler_cls": None}, True),
    "a trainer of another model": (
        {"trainer": {"name": "CoupledOptimizerAdversarialTrainerConfig"}},
        False,
    ),
    "VAEGAN": (VAEGAN, True),
    "VAEGAN with the trainer of others": (
        VAEGAN | {"trainer": {"name": "BaseTrainerConfig"}},
        False,
    ),
    "a rate that is not read": (VAEGAN | {"trainer.learning_rate": 0.5}, False),
    "a rate of 0 of one part": (VAEGAN | {"trainer.decoder_learning_rate": 0}, False),
    "several processes": ({"trainer.world_size": 2}, False),
    "true for a number": ({"model.latent_dim": True}, False),
    "text for a number": ({"trainer.learning_rate": "1e-3"}, False),
    "a key of another model": ({"model.reg_weight": 3}, False),
    "a key of another network": ({"networks.width": 3}, False),
    "a list for a section": ({"model": []}, False),
    "a name with a slash": ({"dataset": "data/tiny"}, False),
    "empty widths": ({"networks.encoder": []}, False),
    "sigma of 0": ({"evaluation.likelihood": {"name": "gaussian", "sigma": 0}}, False),
}


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_runs(case: str, validators, tmp_path: Path) -> None:
    changes, good = RUNS[case]
    config = apply_overrides(made.run_config("BetaVAE"), changes, "")
    path = tmp_path / "run.json"
    path.write_text(json.dumps(config))
    assert validators["run"].is_valid(config) == good
    assert accepts(load_run, path) == good


def accepts(load: Any, path: Path) -> bool:
    try:
        load(path)
    except StudyError:
        return False
    return True


def really_load_study(path: Path) -> None:
    """With every budget, and with what reproduce.py checks before it does anything."""
    study = load_study(path)
    for budget in study.config.budgets:
        load_study(path, budget)
    for data in [study.data, *(b.data for b in study.config.budgets.values() if b.data)]:
        check_options(data.dataset, data.options, str(path))
    check_tables(study.config.tables, str(path))


CELEBA = {"dataset": "celeba", "options": {"image_size": 64, "crop": 140}}
BUDGET = {
    "cost": "Little.",
    "seeds": [3],
    "set": {"networks.dropout": 0.1},
    "run_set": {"vae": {"model.beta": 3}},
}
STUDIES: dict[str, tuple[dict[str, Any], bool]] = {
    "as made": ({}, True),
    "options of celeba": ({"data": CELEBA}, True),
    "set": ({"set": {"model.latent_dim": 4, "trainer.optimizer_params.eps": 1e-7}}, True),
    "set a section": ({"set": {"networks": {"name": "convnet28"}}}, True),
    "grid": ({"grid": {"model.beta": [1, 2.5], "trainer.num_epochs": [1]}}, True),
    "budget": ({"budgets": {"small": BUDGET}}, True),
    "unknown key": ({"seed": [1]}, False),
    "no seeds": ({"seeds": []}, False),
    "negative seed": ({"seeds": [-1]}, False),
    "no split": ({"split": "trian"}, False),
    "unknown data set": ({"data": {"dataset": "mnits"}}, False),
    "an option of another data set": (
        {"data": {"dataset": "mnist", "options": {"image_size": 64}}},
        False,
    ),
    "an option missing": ({"data": {"dataset": "celeba"}}, False),
    "image size": ({"data": CELEBA | {"options": {"image_size": 8}}}, False),
    "crop": ({"data": CELEBA | {"options": {"image_size": 64, "crop": 179}}}, False),
    "crop as text": ({"data": CELEBA | {"options": {"image_size": 64, "crop": "140"}}}, False),
    "unknown metric": (
        {"tables": [{"name": "one", "title": "One", "metrics": ["MES"]}]},
        False,
    ),
    "set a typo": ({"set": {"model.latent_dimm": 4}}, False),
    "set a wrong type": ({"set": {"model.latent_dim": "4"}}, False),
    "set a seed": ({"set": {"trainer.seed": 4}}, False),
    "grid over a typo": ({"grid": {"model.bta": [1]}}, False),
    "grid over nothing": ({"grid": {"model.beta": []}}, False),
    "grid over a wrong type": ({"grid": {"model.beta": ["1"]}}, False),
    "budget's name": ({"budgets": {"Small one": BUDGET}}, False),
    "budget's typo": (
        {"budgets": {"small": BUDGET | {"run_set": {"vae": {"model.bta": 3}}}}},
        False,
    ),
    "budget's cost": ({"budgets": {"small": {"seeds": [3]}}}, False),
}


@pytest.mark.parametrize("case", STUDIES, ids=str)
def test_studies(case: str, validators, tmp_path: Path) -> None:
    changes, good = deepcopy(STUDIES[case])
    made.run_file(tmp_path, "BetaVAE")
    grid = changes.pop("grid", {})
    study = made.study_config({"vae": "run.json"}) | changes
    study["runs"][0] |= {"grid": grid}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(study))
    assert validators["study"].is_valid(study) == good
    assert accepts(really_load_study, path) == good


def test_a_good_cluster_file(validators, tmp_path: Path) -> None:
    config = {
        "modules": ["cuda/12.6"],
        "sbatch": {"partition": "gpu", "mem": "16G", "options": ["--mail-type=END", "--exclusive"]},
        "stages": LIMITS | {"run": {"time": "1-00:00:00", "gres": None}},
        "environment": {"conda": "vae-study"},
        "variables": {"WANDB_MODE": "offline", "NOTE": 'it\'s a "note"'},
    }
    path = tmp_path / "site.json"
    path.write_text(json.dumps(config))
    assert validators["cluster"].is_valid(config) and accepts(load_cluster, path)


def test_keys_explain_themselves(validators) -> None:
    """Docstrings and comments, ours and Pythae's, are what an editor shows."""
    run, study = validators["run"].schema, validators["study"].schema
    assert (
        "ELBO's expectation"
        in run["$defs"]["Evaluation"]["properties"]["elbo_samples"]["description"]
    )
    beta = run["$defs"]["BetaVAEConfig"]["properties"]["beta"]
    assert beta["description"] == "The balancing factor." and beta["default"] == 1.0
    # Models mean different things by it.
    assert beta in study["$defs"]["Setting"]["properties"]["model.beta"]["anyOf"]
    assert (
        "before the resize" in study["$defs"]["CelebaOptions"]["properties"]["crop"]["description"]
    )
