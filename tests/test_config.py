"""Run and study files: what is refused, in what words, and how a study expands."""

import json
import os
from pathlib import Path

import pytest

from evaluate.tables import check_tables
from study.clusters import load_cluster
from study.errors import StudyError
from study.expansion import load_study
from study.overrides import apply_overrides, flatten, parse_override, parse_overrides
from study.provenance import ROOT
from study.pythae_json import MODELS
from study.runs import load_run
from study.schema_training import Networks
from tests import made
from train.networks import BUILDERS

RUNS = sorted(ROOT.glob("configs/runs/*/*.json"))
STUDIES = sorted(ROOT.glob("configs/studies/*.json"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_run_file_loads(path: Path) -> None:
    run = load_run(path)
    assert run.config.comment, "a run file says what it costs"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_file_loads_with_every_budget(path: Path) -> None:
    study = load_study(path)
    check_tables(study.config.tables, str(path))
    for budget in study.config.budgets:
        assert load_study(path, budget).cells


def test_all_run_files_belong_to_a_study() -> None:
    used = {(path.parent / run.config).resolve() for path in STUDIES for run in _runs(path)}
    assert used == set(RUNS)


def _runs(path: Path) -> list:
    return load_study(path).config.runs


BAD = {
    "unknown key": ("VAE", {"dtaset": 1}, "dtaset: unknown key (did you mean 'dataset'?)"),
    "unknown engine key": (
        "VAE",
        {"engine": {"latent_nois": 1.0}},
        "engine.latent_nois: unknown key (did you mean 'latent_noise'?)",
    ),
    "unknown networks": (
        "VAE",
        {"networks": {"name": "convnet65"}},
        "networks.name: 'convnet65' is not one of",
    ),
    "unknown networks key": (
        "VAE",
        {"networks": {"name": "convnet28", "widht": 4}},
        "networks.widht: unknown key (did you mean 'width'?); known are name, width",
    ),
    "networks without a name": ("VAE", {"networks": {"width": 4}}, "networks.name: this key"),
    "width as text": (
        "VAE",
        {"networks": {"name": "convnet28", "width": "4"}},
        "networks.width: Input should be a valid integer, not '4'",
    ),
    "width of true": (
        "VAE",
        {"networks": {"name": "convnet28", "width": True}},
        "networks.width: Input should be a valid integer, not True",
    ),
    "dropout of one": (
        "VAE",
        {"networks": made.MLP | {"dropout": 1.0}},
        "networks.dropout: Input should be less than 1",
    ),
    "data set with a slash": ("VAE", {"dataset": "../x"}, "dataset: String should match"),
    "model typo that Pythae lets pass": (
        "BetaVAE",
        {"model": {"name": "BetaVAEConfig", "bta": 9}},
        "model.bta: unknown key (did you mean 'beta'?); BetaVAEConfig has",
    ),
    "model value that Pythae converts": (
        "BetaVAE",
        {"model": {"name": "BetaVAEConfig", "beta": "9"}},
        'model.beta: Input should be a valid number, not "9"',
    ),
    "model unknown": (
        "VAE",
        {"model": {"name": "VAEConfg"}},
        f"model.name: 'VAEConfg' is not one of {', '.join(MODELS)} (did you mean 'VAEConfig'?)",
    ),
    "model without a name": ("VAE", {"model": {}}, "model.name: one of"),
    "loss unknown": (
        "VAE",
        {"model": {"name": "VAEConfig", "reconstruction_loss": "mae"}},
        "model.reconstruction_loss: Input should be 'bce' or 'mse'",
    ),
    "trainer typo": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "epochs": 3}},
        "trainer.epochs: unknown key",
    ),
    "optimizer unknown": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "optimizer_cls": "Adm"}},
        "trainer: BaseTrainerConfig refuses it",
    ),
    "output_dir": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "output_dir": "x"}},
        "trainer.output_dir: leave it out",
    ),
    "noise in a VAE": (
        "VAE",
        {"engine": {"latent_noise": 0.2}},
        "engine.latent_noise: a VAEConfig has a noise of its own",
    ),
    "MMD in an AE": ("AE", {"engine": {"mmd_sigmas": [1.0]}}, "engine.mmd_sigmas: only a WAE_MMD"),
    "no such split": ("VAE", {"evaluation": {"split": "trian"}}, "evaluation.split: Input should"),
    "no such backbone": (
        "VAE",
        {"evaluation": {"lpips": "vgg16"}},
        "evaluation.lpips.0: Input should be 'vgg', 'alex' or 'as_published', not 'vgg16'",
    ),
    "lpips of null": (
        "VAE",
        {"evaluation": {"lpips": None}},
        "evaluation.lpips: Input should be a",
    ),
    "no samples": ("VAE", {"evaluation": {"samples": 0}}, "evaluation.samples: Input should be"),
    "no images": ("VAE", {"evaluation": {"images": 0}}, "evaluation.images: Input should be"),
    "steps_predict": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "steps_predict": 2}},
        "trainer.steps_predict: leave it out",
    ),
    "steps_saving of 0": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "steps_saving": 0}},
        "trainer.steps_saving: at least 1 is wanted, not 0",
    ),
    "negative seed": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "seed": -1}},
        "trainer.seed: at least 0 is wanted, not -1",
    ),
    "huge seed": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "seed": 2**32}},
        "trainer.seed: at most 4294967295 is wanted",
    ),
    "rate of 0": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "learning_rate": 0.0}},
        "trainer.learning_rate: more than 0 is wanted, not 0.0",
    ),
    "optimizer parameters cut short": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "optimizer_params": {"betas": [0.9]}}},
        "trainer: BaseTrainerConfig refuses it",
    ),
    "LBFGS": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "optimizer_cls": "LBFGS"}},
        "trainer.optimizer_cls: Pythae's trainers give no closure",
    ),
    "scheduler without its parameters": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "scheduler_cls": "StepLR"}},
        "trainer: BaseTrainerConfig refuses it: ",
    ),
    "scheduler step of 0": (
        "VAE",
        {
            "trainer": {
                "name": "BaseTrainerConfig",
                "scheduler_cls": "StepLR",
                "scheduler_params": {"step_size": 0},
            }
        },
        "trainer: BaseTrainerConfig refuses it: ",
    ),
    "no kernel scales": (
        "WAE_MMD",
        {"model": {"name": "WAE_MMD_Config", "scales": []}},
        "model.scales: at least one scale is wanted",
    ),
    "kernels twice": (
        "WAE_MMD",
        {
            "model": {"name": "WAE_MMD_Config", "kernel_choice": "rbf"},
            "engine": {"mmd_sigmas": [1.0]},
        },
        "model.kernel_choice: engine.mmd_sigmas replaces Pythae's kernels",
    ),
    "no epochs": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "num_epochs": 0}},
        "trainer.num_epochs: at least 1 is wanted, not 0",
    ),
    "no batch": (
        "VAE",
        {"trainer": {"name": "BaseTrainerConfig", "per_device_train_batch_size": -4}},
        "trainer.per_device_train_batch_size: at least 1 is wanted, not -4",
    ),
    "no latent": (
        "VAE",
        {"model": {"name": "VAEConfig", "latent_dim": 0}},
        "model.latent_dim: at least 1 is wanted, not 0",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_run_file_names_file_key_and_remedy(case: str, tmp_path: Path) -> None:
    model, changes, message = BAD[case]
    path = made.run_file(tmp_path, model, **changes)
    with pytest.raises(StudyError) as error:
        load_run(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert error.value.status == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"dataset": "a", "dataset": "b"}', "the key 'dataset' stands twice"),
        ('{"dataset": }', "not JSON: Expecting value at line 1, column 13"),
        ('{"dataset": NaN}', "NaN is no JSON number"),
        ('{"dataset": 1e999}', "1e999 is too large for a number"),
        ("[1]", "an object {...} is wanted, not list"),
        ("[" * 100_000, "brackets nest too deeply"),
    ],
    ids=["duplicate", "syntax", "NaN", "inf", "list", "deep"],
)
def test_bad_json(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(StudyError, match="run.json") as error:
        load_run(path)
    assert message in str(error.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nothing.json: No such file"):
        load_run(tmp_path / "nothing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="binary.json: not UTF-8"):
        load_run(tmp_path / "binary.json")


def test_pythaes_own_saved_json_is_taken_verbatim(tmp_path: Path) -> None:
    from pythae.models import BetaVAEConfig
    from pythae.trainers import BaseTrainerConfig

    model = BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=5, beta=2.0)
    trainer = BaseTrainerConfig(num_epochs=3, learning_rate=1e-3)
    path = tmp_path / "run.json"
    config = made.run_config() | {
        "model": json.loads(model.to_json_string()),
        "trainer": json.loads(trainer.to_json_string()),
    }
    path.write_text(json.dumps(config))
    run = load_run(path)
    assert (run.model.beta, run.model.latent_dim, run.trainer.num_epochs) == (2.0, 5, 3)


def test_environment_does_not_start_distributed_training(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("MASTER_ADDR", "node17")
    run = load_run(made.run_file(tmp_path))
    assert (run.trainer.world_size, run.trainer.rank) == (1, 0)
    assert os.environ["WORLD_SIZE"] == "4" and os.environ["MASTER_ADDR"] == "node17"
    for key in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.delenv(key)
    assert run.resolved() == load_run(made.run_file(tmp_path)).resolved()
    monkeypatch.setenv("WORLD_SIZE", "four")
    assert load_run(made.run_file(tmp_path)).trainer.world_size == 1


def test_overrides() -> None:
    assert parse_override("model.beta=4") == ("model.beta", 4)
    assert parse_override("dataset=mnist") == ("dataset", "mnist")
    assert parse_override("a.b=[1, 2]") == ("a.b", [1, 2])
    assert parse_override("a=b=c") == ("a", "b=c")
    config = {"a": {"b": 1}, "c": 2}
    assert apply_overrides(config, {"a.b": 3, "d.e": 4}, "x") == {
        "a": {"b": 3},
        "c": 2,
        "d": {"e": 4},
    }
    assert config == {"a": {"b": 1}, "c": 2}
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
    for bad in ("model.beta", "=4", "a..b=1"):
        with pytest.raises(StudyError, match="KEY=VALUE is wanted"):
            parse_override(bad)
    with pytest.raises(StudyError, match="set twice"):
        parse_overrides(["a=1", "a=2"])
    with pytest.raises(StudyError, match="'c' is a value"):
        apply_overrides(config, {"c.d": 1}, "x")


def test_seed_wins_and_defaults_are_resolved(tmp_path: Path) -> None:
    run = load_run(made.run_file(tmp_path), {"model.latent_dim": 7}, seed=11)
    resolved = run.resolved()
    assert run.seed == 11
    assert resolved["model"]["latent_dim"] == 7
    assert resolved["trainer"]["optimizer_cls"] == "Adam"
    assert resolved["engine"]["latent_noise"] is None
    assert resolved["engine"]["checkpoint_every"]["seconds"] == 300.0
    assert "output_dir" not in resolved["trainer"]


def test_schema_and_builders_know_the_same_networks() -> None:
    from typing import get_args

    union = get_args(Networks)[0]
    assert set(get_args(union)) == set(BUILDERS)


def test_a_file_of_another_kind_is_called_by_its_name(tmp_path: Path) -> None:
    run, study = RUNS[0], STUDIES[0]
    cluster = ROOT / "configs/clusters/local.json"
    for load, file, said in (
        (load_run, study, "a study file, which 'python reproduce.py' takes; a run file is wanted"),
        (load_study, run, "a run file, which 'python -m train' takes; a study file is wanted"),
        (load_study, cluster, "a cluster file, which says how jobs are submitted; a study file"),
        (load_cluster, run, "a run file, which 'python -m train' takes; a cluster file is wanted"),
    ):
        with pytest.raises(StudyError) as error:
            load(file)
        assert str(error.value).startswith(f"{file}: this is {said}")
    with pytest.raises(StudyError, match="a run file is wanted"):
        load_run(study, {"networks.width": 3})
    changed = json.loads(study.read_text())
    changed["runs"][0]["config"] = str(study)
    (tmp_path / "study.json").write_text(json.dumps(changed))
    with pytest.raises(StudyError, match=r"this is a study file, .* a run file is wanted"):
        load_study(tmp_path / "study.json")
