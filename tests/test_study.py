"""Study files: expansion, its order, budgets, settings, and what is refused."""

import json
from pathlib import Path

import pytest

from evaluate.tables import check_tables
from study.errors import StudyError
from study.expansion import load_study
from study.provenance import ROOT
from tests import made


def study_config(**changes: object) -> dict:
    return {
        "name": "made",
        "title": "Made",
        "source": "a test",
        "cost": "nothing",
        "data": {"dataset": "shapes", "name": "tiny"},
        "split": "eval",
        "runs": [
            {"name": "vae", "config": "vae.json", "label": "VAE"},
            {
                "name": "beta",
                "config": "beta.json",
                "label": "β = {model.beta}, D = {model.latent_dim}",
                "grid": {"model.beta": [0.5, 4.0], "model.latent_dim": [2, 3]},
            },
        ],
        "seeds": [1, 0],
        "tables": [{"name": "t", "title": "T", "metrics": ["MSE"]}],
        "budgets": {"small": {"cost": "less", "set": {"trainer.num_epochs": 1}, "seeds": [5]}},
    } | changes


def write_study(folder: Path, **changes: object) -> Path:
    made.run_file(folder, "VAE", "vae")
    made.run_file(folder, "BetaVAE", "beta")
    path = folder / "study.json"
    path.write_text(json.dumps(study_config(**changes)))
    return path


def test_expansion_order_is_runs_then_grid_then_seeds(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    assert [cell.title for cell in study.cells] == [
        "vae/seed-1",
        "vae/seed-0",
        "beta-beta0.5-latent_dim2/seed-1",
        "beta-beta0.5-latent_dim2/seed-0",
        "beta-beta0.5-latent_dim3/seed-1",
        "beta-beta0.5-latent_dim3/seed-0",
        "beta-beta4.0-latent_dim2/seed-1",
        "beta-beta4.0-latent_dim2/seed-0",
        "beta-beta4.0-latent_dim3/seed-1",
        "beta-beta4.0-latent_dim3/seed-0",
    ]
    last = study.cells[-1]
    assert last.label == "β = 4, D = 3"
    assert (last.run.model.beta, last.run.model.latent_dim, last.run.seed) == (4.0, 3, 0)


def test_order_of_the_committed_study_is_kept() -> None:
    """An index into this list is what an array job gets: it must not move."""
    study = load_study(ROOT / "configs/studies/celeba64.json", "small")
    names = ["vae", "beta_vae-beta0.5", "beta_vae-beta1.0", "beta_vae-beta4.0"]
    names += ["vqvae_flat", "vqvae_grid", "vaegan"]
    want = [f"{name}/seed-{seed}" for name in names for seed in range(2)]
    assert [cell.title for cell in study.cells] == want


def test_a_run_may_have_seeds_of_its_own(tmp_path: Path) -> None:
    one = {"name": "one", "config": "vae.json", "label": "One", "seeds": [7]}
    all_of_them = {"name": "all", "config": "vae.json", "label": "All"}
    path = write_study(tmp_path, runs=[one, all_of_them], **budget())
    for name, theirs in ((None, [1, 0]), ("small", [1, 0])):
        titles = [cell.title for cell in load_study(path, name).cells]
        assert titles == ["one/seed-7", *(f"all/seed-{seed}" for seed in theirs)]


def test_budget_changes_seeds_and_settings_and_the_name(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path), "small")
    assert study.name == "made-small"
    assert {cell.seed for cell in study.cells} == {5}
    assert {cell.run.trainer.num_epochs for cell in study.cells} == {1}
    with pytest.raises(StudyError, match=r"no budget 'smal' \(did you mean 'small'\?\)"):
        load_study(write_study(tmp_path), "smal")


def budget(**run_set: dict) -> dict:
    small = {"cost": "less", "set": {"trainer.num_epochs": 1}, "run_set": run_set}
    return {"budgets": {"small": small}}


def test_budget_may_set_what_concerns_one_run_alone(tmp_path: Path) -> None:
    path = write_study(tmp_path, **budget(vae={"trainer.num_epochs": 3}))
    epochs = {cell.name: cell.run.trainer.num_epochs for cell in load_study(path, "small").cells}
    assert epochs.pop("vae") == 3 and set(epochs.values()) == {1}
    assert {cell.run.trainer.num_epochs for cell in load_study(path).cells} == {2}


@pytest.mark.parametrize(
    ("run_set", "message"),
    [
        ({"vea": {}}, r"run_set.vea: no run of that name \(did you mean 'vae'\?\)"),
        ({"beta": {"model.beta": 1.0}}, "run_set.beta model.beta: the grid of run 'beta' sets it"),
        ({"vae": {"trainer.seed": 1}}, "run_set.vae trainer.seed: a study sets trainer.seed by"),
    ],
)
def test_bad_settings_of_one_run(run_set: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write_study(tmp_path, **budget(**run_set)), "small")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 0]}, "names a seed twice"),
        (
            {"runs": [{"name": "a", "config": "vae.json", "label": "A", "seeds": [2, 2]}]},
            "runs.a.seeds: [2, 2] names a seed twice",
        ),
        ({"seeds": []}, "seeds: List should have at least 1 item"),
        ({"seeds": [-1]}, "seeds.0: Input should be greater than or equal to 0"),
        (
            {"runs": [{"name": "a", "config": "vae.json", "label": "{model.x}"}]},
            "'{model.x}' is no",
        ),
        (
            {"runs": [{"name": "a", "config": "vae.json", "label": "A"}] * 2},
            "two cells are called 'a/seed-1'",
        ),
        ({"runs": [{"name": "a", "config": "no.json", "label": "A"}]}, "no.json: No such file"),
        ({"data": {"dataset": "shape"}}, "data.dataset: Input should be 'shapes'"),
        ({"splitt": "eval"}, "splitt: unknown key (did you mean 'split'?)"),
        (
            {"runs": [{"name": "a", "config": "vae.json", "label": "A", "set": {"model.bta": 1}}]},
            "model.bta: unknown key",
        ),
    ],
)
def test_bad_study(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as error:
        load_study(write_study(tmp_path, **changes))
    assert message in str(error.value)


def test_override_that_the_grid_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="the grid of run 'beta' sets it already"):
        load_study(write_study(tmp_path), overrides={"model.beta": 1.0})


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({}, {"model": {"name": "BetaVAEConfig", "beta": 2.0}}, "--set model: the grid of run"),
        ({}, {"trainer.seed": 7}, "--set trainer.seed: a study sets trainer.seed by its 'seeds'"),
        ({}, {"evaluation.split": "test"}, "a study sets evaluation.split by its 'split'"),
        ({"set": {"trainer.seed": 7}}, {}, "set trainer.seed: a study sets trainer.seed"),
    ],
)
def test_settings_that_would_be_overruled_in_silence(changes, overrides, message, tmp_path) -> None:
    with pytest.raises(StudyError) as error:
        load_study(write_study(tmp_path, **changes), overrides=overrides)
    assert message in str(error.value)


def test_later_settings_go_over_earlier_ones(tmp_path: Path) -> None:
    """Study, run, command line: whole sections and single keys in any mixture."""
    runs = [{"name": "a", "config": "vae.json", "label": "A"}]
    runs[0]["set"] = {"networks": {"name": "mlp", "encoder": [5], "decoder": [5]}}
    path = write_study(tmp_path, runs=runs, set={"networks.dropout": 0.1})
    assert load_study(path).cells[0].run.config.networks.dropout == 0.0
    cell = load_study(path, overrides={"networks.dropout": 0.5}).cells[0]
    assert (cell.run.config.networks.dropout, cell.run.config.networks.encoder) == (0.5, [5])


def test_two_tables_of_one_name(tmp_path: Path) -> None:
    table = {"name": "t", "title": "T", "metrics": ["MSE"]}
    path = write_study(tmp_path, tables=[table, table])
    with pytest.raises(StudyError, match="tables: two are called 't'"):
        check_tables(load_study(path).config.tables, str(path))


def test_table_with_an_unknown_metric(tmp_path: Path) -> None:
    path = write_study(tmp_path, tables=[{"name": "t", "title": "T", "metrics": ["SSMI"]}])
    with pytest.raises(StudyError, match=r"tables.t.metrics: 'SSMI' .* \(did you mean 'SSIM'\?\)"):
        check_tables(load_study(path).config.tables, str(path))


@pytest.mark.parametrize("name", ["references", "slurm", "wandb"])
def test_a_run_is_not_called_as_a_folder_beside_the_runs(name: str, tmp_path: Path) -> None:
    made.run_file(tmp_path, "BetaVAE")
    path = tmp_path / "study.json"
    path.write_text(json.dumps(made.study_config({name: "run.json"})))
    with pytest.raises(StudyError, match=f"runs.{name}: '{name}' is the name of a folder beside"):
        load_study(path)
