"""Training: against stock Pythae, bit for bit against itself, and what it leaves on disk."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pythae.models import AutoModel
from pythae.trainers import BaseTrainerConfig

from study.datasets import open_dataset
from study.errors import StudyError
from study.rundir import RunDirectory
from study.runs import load_run
from tests import made
from tests.stock import train_stock
from tests.training import train, weights, without_seconds
from train.__main__ import main
from train.dataset import ImageDataset
from train.history import read_history
from train.run import load_trained


@pytest.mark.parametrize("kind", made.MODELS)
def test_final_weights_equal_stock_pythaes(kind: str, tmp_path: Path, data: Path) -> None:
    """The same weights at the start, seed and order: the same at the end, bit for bit."""
    convnet = {"networks": {"name": "convnet28", "width": 2}}
    out = train(tmp_path, data, kind, **convnet)
    run = load_run(made.run_file(tmp_path, kind, **convnet)).with_shape((1, 28, 28))
    stock = train_stock(run, open_dataset(data, "tiny"), tmp_path / "stock")
    last = torch.load(out / "last_model.pt", weights_only=True)["model_state_dict"]
    pairs = [(weights(out), stock._best_model), (last, stock.model)]
    for got, model in pairs:
        want = model.state_dict()
        assert got.keys() == want.keys()
        for key in want:
            assert torch.equal(got[key], want[key]), key


@pytest.mark.parametrize("kind", made.MODELS)
def test_two_runs_of_one_seed_are_the_same_bits(kind: str, tmp_path: Path, data: Path) -> None:
    first, second = (train(tmp_path, data, kind, out) for out in ("a", "b"))
    one, two = weights(first), weights(second)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert without_seconds(first) == without_seconds(second)


def test_another_seed_starts_elsewhere(tmp_path: Path, data: Path) -> None:
    first = weights(train(tmp_path, data, out="a"))
    trainer = made.run_config()["trainer"] | {"seed": 4}
    second = weights(train(tmp_path, data, out="b", trainer=trainer))
    assert not torch.equal(first["encoder.embedding.weight"], second["encoder.embedding.weight"])


TERMS = {
    "AE": {"loss"},
    "VAE": {"loss", "recon_loss", "reg_loss"},
    "BetaVAE": {"loss", "recon_loss", "reg_loss"},
    "WAE_MMD": {"loss", "recon_loss", "mmd_loss"},
    "VQVAE": {"loss", "recon_loss", "vq_loss", "perplexity", "usage"},
    "VAEGAN": {
        "loss",
        "recon_loss",
        "encoder_loss",
        "decoder_loss",
        "discriminator_loss",
        "d_real",
        "d_fake",
        "pixel_mse",
    },
}
IN_TRAINING = {
    "VAEGAN": {"updates_encoder", "updates_decoder", "updates_discriminator"},
}


@pytest.mark.parametrize("kind", TERMS)
def test_history_has_every_term_of_every_epoch(kind: str, tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, kind)
    history = read_history(RunDirectory(out).history)
    assert [line["epoch"] for line in history] == [1, 2]
    for line in history:
        assert set(line["eval"]) == TERMS[kind]
        assert set(line["train"]) == TERMS[kind] | IN_TRAINING.get(kind, set())
        assert line["seconds"] >= 0


def test_history_is_the_mean_over_images_not_over_batches(tmp_path: Path, data: Path) -> None:
    """25 eval images in batches of 16 and 9; AE in eval mode has no noise."""
    out = train(tmp_path, data, "AE", trainer=made.run_config()["trainer"] | {"num_epochs": 1})
    _, model = load_trained(out)
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    with torch.no_grad():
        errors = (
            (model.decoder(model.encoder(x).embedding).reconstruction - x).pow(2).sum((1, 2, 3))
        )
    got = read_history(RunDirectory(out).history)[0]["eval"]["loss"]
    assert got == pytest.approx(errors.mean().item(), rel=1e-6)


def test_final_model_is_the_best_of_eval(tmp_path: Path, data: Path) -> None:
    """A rate that becomes far too large after three epochs: the best is not the last."""
    trainer = made.run_config()["trainer"] | {
        "num_epochs": 4,
        "learning_rate": 0.1,
        "scheduler_cls": "StepLR",
        "scheduler_params": {"step_size": 3, "gamma": 1e4},
    }
    out = train(tmp_path, data, "AE", trainer=trainer)
    losses = [line["eval"]["loss"] for line in read_history(RunDirectory(out).history)]
    assert losses[-1] > 1.02 * min(losses)
    _, model = load_trained(out)
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    with torch.no_grad():
        errors = (
            (model.decoder(model.encoder(x).embedding).reconstruction - x).pow(2).sum((1, 2, 3))
        )
    assert errors.mean().item() == pytest.approx(min(losses), rel=1e-6)


@pytest.mark.parametrize("networks", [made.MLP, {"name": "convnet28", "width": 2}])
def test_pythae_opens_final_model_far_from_here(networks, tmp_path: Path, data: Path) -> None:
    """In another folder and process, without this repository on the path."""
    out = train(tmp_path, data, "VAE", networks=networks)
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.save(x, tmp_path / "x.pt")
    program = (
        "import torch; from pythae.models import AutoModel\n"
        f"model = AutoModel.load_from_folder({str(out / 'final_model')!r}).eval()\n"
        f"x = torch.load({str(tmp_path / 'x.pt')!r})\n"
        "z = model.encoder(x).embedding\n"
        f"torch.save(model.decoder(z).reconstruction.detach(), {str(tmp_path / 'y.pt')!r})\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    _, model = load_trained(out)
    with torch.no_grad():
        want = model.decoder(model.encoder(x).embedding).reconstruction
    assert torch.equal(torch.load(tmp_path / "y.pt"), want)


@pytest.mark.parametrize("kind", made.MODELS)
def test_pythae_knows_the_saved_class(kind: str, tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, kind)
    assert type(AutoModel.load_from_folder(str(out / "final_model"))).__name__ == kind


def test_our_loading_opens_no_pickle(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    for name in ("encoder.pkl", "decoder.pkl"):
        (out / "final_model" / name).write_bytes(b"would fail if it were opened")
    assert weights(out)


def test_weights_that_are_no_weights(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data)
    file = out / "final_model" / "model.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match="model.pt: cannot be loaded"):
        load_trained(out)
    torch.save({"model_state_dict": Path("x")}, file)  # an object that weights_only refuses
    with pytest.raises(StudyError, match="model.pt: cannot be loaded"):
        load_trained(out)


def test_finite_loss_that_pythae_takes_for_no_best(tmp_path: Path, data: Path) -> None:
    """Of 1e10 or more: stock Pythae ends without a best model, and fails when it saves it."""
    model = {"name": "BetaVAEConfig", "latent_dim": 3, "beta": 1e14}
    out = train(tmp_path, data, "BetaVAE", model=model)
    losses = [line["eval"]["loss"] for line in read_history(RunDirectory(out).history)]
    assert min(losses) >= 1e10
    finished = json.loads((out / "finished.json").read_text())
    assert finished["best"]["value"] == min(losses)


@pytest.mark.parametrize(
    ("kind", "networks", "key", "size"),
    [
        ("VAE", {"name": "convnet28", "width": 1}, "per_device_train_batch_size", 23),
        ("WAE_MMD", made.MLP, "per_device_train_batch_size", 69),
        ("WAE_MMD", made.MLP, "per_device_eval_batch_size", 8),
        ("WAE_MMD", made.MLP, "per_device_eval_batch_size", 1),
    ],
)
def test_last_batch_of_one_image(kind, networks, key, size, tmp_path: Path, data: Path) -> None:
    """70 = 3 x 23 + 1 = 69 + 1; 25 = 3 x 8 + 1."""
    trainer = made.run_config()["trainer"] | {key: size}
    with pytest.raises(StudyError, match=f"trainer.{key}: {size} leaves one image") as error:
        train(tmp_path, data, kind, networks=networks, trainer=trainer)
    assert error.value.status == 2
    assert not (tmp_path / "out").exists()


# More than any memory holds, and more than torch takes for a size.
@pytest.mark.parametrize("size", [10**13, 10**20])
def test_networks_too_large_for_any_machine(size: int, tmp_path: Path, data: Path) -> None:
    model = {"name": "VAEConfig", "latent_dim": size}
    with pytest.raises(StudyError, match="its networks cannot be built"):
        train(tmp_path, data, model=model)
    assert not (tmp_path / "out").exists()


def test_worker_processes_get_the_path_not_the_images(tmp_path: Path, data: Path) -> None:
    dataset = ImageDataset(open_dataset(data, "tiny").path("train"))
    first = dataset[0]["data"]
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 1000
    assert torch.equal(pickle.loads(pickled)[0]["data"], first)
    trainer = made.run_config()["trainer"] | {"train_dataloader_num_workers": 1}
    alone = weights(train(tmp_path, data, out="alone"))
    helped = weights(train(tmp_path, data, out="helped", trainer=trainer))
    assert all(torch.equal(alone[key], helped[key]) for key in alone)


def call(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    return main()


def test_dry_run_prints_the_config_and_writes_nothing(tmp_path, data, monkeypatch, capsys) -> None:
    file = made.run_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert call(monkeypatch, file, "--dry-run", "--set", "model.latent_dim=9", "--seed", 5) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"]["latent_dim"] == 9 and shown["trainer"]["seed"] == 5
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RUN.json"),
        (["{run}", "--seed", "-1"], "argument --seed: -1: a whole number of at least 0 and at"),
        (["{run}", "--seed", "x"], "argument --seed: x: a whole number of at least 0 and at most"),
        (["{run}", "--seed", "5000000000"], "at most 4294967295 is wanted"),
        (["{run}", "--set", "x"], "--set x: KEY=VALUE is wanted"),
        (["{run}", "--set", "model.bta=1"], "model.bta: unknown key"),
        (["{run}", "--data", "nowhere"], "nowhere/tiny: no prepared data set there"),
        (["{run}", "--sed", "1"], "unrecognized arguments: --sed 1"),
        (["none.json"], "none.json: No such file or directory"),
        (
            ["{run}", "--data", "{data}", "--out", "{run}/x"],
            "run.json/x: cannot be made: a file stands where a folder should",
        ),
    ],
)
def test_bad_command_lines_cost_one_line_and_status_2(arguments, message, tmp_path, data) -> None:
    file = made.run_file(tmp_path)
    words = [word.format(run=file, data=data) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "train", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("train: ")
    assert message in done.stderr


def test_training_is_silent_but_for_its_last_line(tmp_path: Path, data: Path) -> None:
    command = [sys.executable, "-m", "train", made.run_file(tmp_path), "--data", data]
    out = tmp_path / "out"
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == f"{out}: trained\n"


def test_trainer_config_class_is_pythaes(tmp_path: Path) -> None:
    assert type(load_run(made.run_file(tmp_path)).trainer) is BaseTrainerConfig


def test_without_an_eval_split_the_training_loss_may_choose(tmp_path: Path) -> None:
    """As Pythae has it: `keep_best_on_train`; without that it is refused before it trains."""
    made.dataset(tmp_path, counts=(40,))
    with pytest.raises(StudyError, match="keep_best_on_train: data set 'tiny' has no eval split"):
        train(tmp_path, tmp_path, "VAE")
    assert not (tmp_path / "out").exists()
    trainer = made.trainer(made.MODELS["VAE"], keep_best_on_train=True)
    out = train(tmp_path, tmp_path, "VAE", trainer=trainer)
    history = read_history(RunDirectory(out).history)
    assert [line["eval"] for line in history] == [{}, {}]
    assert load_trained(out)[0].trainer.keep_best_on_train
