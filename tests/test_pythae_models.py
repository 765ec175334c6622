"""Every autoencoder of Pythae: it trains, is loaded again, and what would fail late is refused."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from pythae import models as pythae_models
from pythae.models import SVAEConfig
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.trainer_utils import set_seed

from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.pythae_json import MODELS, TRAINER_OF, is_variational
from study.rundir import RunDirectory
from study.runs import Run, parse_run
from study.schema_training import ConvNet
from tests import made, made_pythae
from tests.stock import train_stock
from train.history import read_history
from train.models import build_model
from train.networks import build_networks
from train.run import check_last_batches, load_trained, run_identity, train_run

CONVNET = {"name": "convnet28", "width": 2}
# In `pythae.models.__all__`, and no autoencoder.
NOT_MODELS = {
    "AutoModel": "opens saved models",
    "BaseAE": "what autoencoders inherit from",
    "BaseAEConfig": "what their configs inherit from",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Dataset:
    """20 + 10 images: two steps of ten and one batch to judge by."""
    folder = tmp_path_factory.mktemp("small")
    made.dataset(folder, counts=(20, 10))
    return open_dataset(folder, "tiny")


def made_run(kind: str, **changes: object) -> Run:
    config = made_pythae.run_config(kind, **changes)
    return parse_run(config, Path("run.json")).with_shape((1, 28, 28))


def images(data: Dataset, split: str = "eval") -> torch.Tensor:
    return torch.from_numpy(np.array(data.images(split))).float() / 255


def as_seeded(run: Run) -> Any:
    """The model as training finds it."""
    set_seed(run.seed)
    return build_model(run)


def test_every_model_of_pythae_is_known_or_named_with_a_reason() -> None:
    known = {*MODELS, *MODELS.values()}
    assert set(pythae_models.__all__) - known == set(NOT_MODELS)
    assert known <= set(pythae_models.__all__)
    assert {name.split(",")[0] for name in made_pythae.MODELS} == set(MODELS.values())


@pytest.mark.parametrize("kind", made_pythae.MODELS)
def test_trainer_is_the_one_pythaes_pipeline_asks_for(kind: str) -> None:
    run = made_run(kind)
    model = build_model(run)
    TrainingPipeline(model=model, training_config=run.trainer)
    if run.model.name in TRAINER_OF:
        with pytest.raises(AssertionError, match="is expected for"):
            TrainingPipeline(model=model, training_config=BaseTrainerConfig())


@pytest.mark.parametrize("kind", made_pythae.MODELS)
def test_trains_moves_every_part_and_is_loaded_to_the_same_bits(
    kind: str, tmp_path: Path, small: Dataset
) -> None:
    """Against stock Pythae too: the same start, seed and order, the same weights at the end."""
    run = made_run(kind)
    before = run.resolved()
    first = {k: v.clone() for k, v in as_seeded(run).state_dict().items()}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        train_run(run, small, tmp_path / "out")
        loaded_run, model = load_trained(tmp_path / "out")
    assert [str(warning.message) for warning in heard] == []
    assert run.resolved() == before, "training changed the run's config"
    assert run_identity(loaded_run, small) == run_identity(run, small)
    still = [k for k, p in model.named_parameters() if torch.equal(p, first[k])]
    assert still == [k for k, p in model.named_parameters() if not p.requires_grad]
    best = train_stock(made_run(kind), small, tmp_path / "stock")._best_model.eval()
    want, got = best.state_dict(), model.state_dict()
    assert got.keys() == want.keys()
    assert [k for k in want if not torch.equal(got[k], want[k])] == []
    x = images(small)
    for one, other in zip(reconstructed(model, x), reconstructed(best, x), strict=True):
        assert torch.equal(one, other)


def reconstructed(model: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """What Pythae's `reconstruct` (drawn with one seed) and the networks themselves make of x."""
    torch.manual_seed(5)
    drawn = model.reconstruct(x.clone()).detach()
    with torch.no_grad():
        z = model.encoder(x)["embedding"]
        return (
            [drawn, z]
            if model.model_name == "VQVAE"
            else [drawn, model.decoder(z)["reconstruction"]]
        )


@pytest.mark.parametrize("kind", ["FactorVAE", "MIWAE"])
def test_history_is_the_mean_over_the_images_of_the_losses(
    kind: str, tmp_path: Path, small: Dataset
) -> None:
    """FactorVAE: 10 eval images in batches of 7 and 3, whose halves are 4 and 2 images.

    MIWAE: its reconstruction loss is one value a draw in Pythae's output.
    """
    config = made_pythae.run_config(kind)
    config["trainer"] |= {"per_device_eval_batch_size": 7}
    seen: list[tuple[float, int]] = []
    cls = getattr(pythae_models, kind)
    forward = cls.forward

    def hear(self: Any, inputs: Any, **kwargs: Any) -> Any:
        output = forward(self, inputs, **kwargs)
        count = len(inputs["data"])
        halved = (count + 1) // 2 if kind == "FactorVAE" else count
        if not self.training:
            seen.append((float(output["recon_loss"].mean()), halved))
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "forward", hear)
        train_run(parse_run(config, Path("run.json")), small, tmp_path / "out")
    seen = seen[-2:]
    assert [count for _, count in seen] == ([4, 2] if kind == "FactorVAE" else [7, 3])
    want = sum(loss * count for loss, count in seen) / sum(count for _, count in seen)
    got = read_history(RunDirectory(tmp_path / "out").history)[0]["eval"]["recon_loss"]
    assert got == pytest.approx(want, rel=1e-6)


SHAPES = {"mnist": (1, 28, 28), "cifar": (3, 32, 32), "celeba": (3, 64, 64)}


@pytest.mark.parametrize("benchmark", SHAPES)
def test_encoder_on_the_sphere_is_pythaes_layer_by_layer(benchmark: str) -> None:
    shape = SHAPES[benchmark]
    config = SVAEConfig(input_dim=shape, latent_dim=5)
    ours = build_networks(ConvNet(name=f"convnet{shape[1]}"), config, "x").encoder
    module = importlib.import_module(f"pythae.models.nn.benchmarks.{benchmark}")
    theirs = getattr(module, f"Encoder_Conv_SVAE_{benchmark.upper()}")(config)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, *shape)
    with torch.no_grad():
        got, want = ours(x), theirs(x)
    assert set(got) == set(want) == {"embedding", "log_concentration"}
    assert all(torch.equal(got[key], want[key]) for key in want)
    assert got.log_concentration.shape == (2, 1)


@pytest.mark.parametrize("networks", [made.MLP, CONVNET])
def test_encoders_give_what_the_model_asks_for(networks: dict) -> None:
    for kind, model in made_pythae.MODELS.items():
        run = made_run(kind, networks=networks)
        output = build_model(run).encoder(torch.rand(2, 1, 28, 28))
        shapes = {key: tuple(value.shape) for key, value in output.items()}
        want: dict[str, tuple] = {"embedding": (2, 3)}
        if kind in ("SVAE", "PoincareVAE, Riemannian"):
            want["log_concentration"] = (2, 1)
        elif is_variational(run.model):
            want["log_covariance"] = (2, 3)
        assert shapes == want, model


def test_sphere_is_bounded_where_pythaes_kl_is_a_number() -> None:
    """Its concentration is at least 1; in float32 the KL goes wrong beyond 60 dimensions."""

    def kl(m: int, k: float) -> tuple[float, float]:
        run = made_run("SVAE", model={"name": "SVAEConfig", "latent_dim": 3})
        got = build_model(run)._compute_kl(m, torch.tensor([[k]]))
        bessel = scipy.special.ive(m / 2, k), scipy.special.ive(m / 2 - 1, k)
        want = (
            k * bessel[0] / bessel[1]
            + (m / 2 - 1) * np.log(k)
            - np.log(2 * np.pi) * m / 2
            - np.log(bessel[1])
            - k
            - scipy.special.gammaln(m / 2)
            + np.log(2)
            + np.log(np.pi) * m / 2
        )
        return float(got), float(want)

    for m in (2, 16, 60):
        for k in (1.0, 1.7, 20.0):
            got, want = kl(m, k)
            assert got == pytest.approx(want, rel=1e-2, abs=1e-4), (m, k)
    assert np.isnan(kl(70, 1.0)[0])


@pytest.mark.parametrize(
    ("kind", "networks", "key", "size", "message"),
    [
        ("INFOVAE_MMD", made.MLP, "train", 19, "19 leaves one image for the last batch of 20"),
        ("INFOVAE_MMD", made.MLP, "eval", 3, "3 leaves one image for the last batch of 10"),
        ("BetaTCVAE", made.MLP, "eval", 9, "9 leaves one image for the last batch of 10"),
        ("FactorVAE", made.MLP, "eval", 1, "1 leaves one image for the last batch of 10"),
        ("FactorVAE", CONVNET, "train", 17, "17 leaves 3 images for the last batch of 20"),
        ("RHVAE", CONVNET, "train", 19, "19 leaves one image for the last batch of 20"),
        ("FactorVAE", made.MLP, "train", 17, None),
        ("FactorVAE", CONVNET, "train", 4, None),
        ("FactorVAE", CONVNET, "eval", 4, None),
        ("SVAE", made.MLP, "train", 19, None),
    ],
)
def test_last_batch_that_a_model_cannot_take(
    kind: str, networks: dict, key: str, size: int, message: str | None, small: Dataset, tmp_path
) -> None:
    key = f"per_device_{key}_batch_size"
    config = made_pythae.run_config(kind, networks=networks)
    config["trainer"] |= {key: size}
    run = parse_run(config, Path("run.json"))
    if message is None:
        assert train_run(run, small, tmp_path / "out")
        return
    with pytest.raises(StudyError) as error:
        check_last_batches(run, small)
    assert f"trainer.{key}: {message}" in str(error.value)


def with_model(kind: str, **changes: object) -> tuple[str, dict]:
    return kind, {"model": made_pythae.MODELS[kind] | changes}


def with_trainer(kind: str, **changes: object) -> tuple[str, dict]:
    return kind, {"trainer": made_pythae.run_config(kind)["trainer"] | changes}


BAD = {
    "no samples": (
        with_model("IWAE", number_samples=0),
        "model.number_samples: at least 1 is wanted, not 0",
    ),
    "no steps": (with_model("HVAE", n_lf=-1), "model.n_lf: at least 0 is wanted, not -1"),
    "no temperature": (
        with_model("RHVAE", temperature=0.0),
        "model.temperature: more than 0 is wanted, not 0.0",
    ),
    "no pseudo-input": (
        with_model("VAMP", number_components=0),
        "model.number_components: at least 1 is wanted, not 0",
    ),
    "hot": (with_model("HVAE", beta_zero=1.5), "model.beta_zero: at most 1 is wanted, not 1.5"),
    "scale that Pythae asserts when it builds the model": (
        with_model("Adversarial_AE", adversarial_loss_scale=1.5),
        "model.adversarial_loss_scale: at most 1 is wanted, not 1.5",
    ),
    "warmup that Pythae asserts when it builds the model": (
        with_model("DisentangledBetaVAE", warmup_epoch=-1),
        "model.warmup_epoch: at least 0 is wanted, not -1",
    ),
    "convex combination": (with_model("CIWAE", beta=1.5), "model: CIWAEConfig refuses it: "),
    "no such flow": (with_model("VAE_LinNF", flows=["Plane"]), "VAE_LinNF_Config refuses it: "),
    "a sphere of two points": (
        with_model("SVAE", latent_dim=1),
        "model.latent_dim: at least 2 is wanted, not 1: its sphere",
    ),
    "a sphere too large for float32": (
        with_model("SVAE", latent_dim=64),
        "model.latent_dim: at most 60 is wanted, not 64",
    ),
    "autoregression of one": (
        with_model("VAE_IAF", latent_dim=1),
        "model.latent_dim: at least 2 is wanted, not 1",
    ),
    "no direction": (
        with_model("PoincareVAE, Riemannian", latent_dim=1),
        "model.prior_distribution: a riemannian_normal needs a direction",
    ),
    "flat": (with_model("PoincareVAE", curvature=0.0), "model.curvature: more than 0 is wanted"),
    "logits": (
        with_model("HVAE", reconstruction_loss="bce"),
        "model.reconstruction_loss: Pythae's HVAE takes a decoder's output for logits",
    ),
    "loss that is not read": (
        with_model("MSSSIM_VAE", reconstruction_loss="bce"),
        "model.reconstruction_loss: a MSSSIM_VAEConfig does not read it",
    ),
    "window wider than the images": (
        with_model("MSSSIM_VAE", window_size=29),
        "model.window_size: 29 is wider than the images, of 28 pixels",
    ),
    "weight decay twice": (
        with_trainer("RAE_L2", decoder_optimizer_params={"weight_decay": 0.5}),
        "trainer.decoder_optimizer_params: Pythae puts model.reg_weight (0.1) in place",
    ),
    "optimizer without weight decay": (
        with_trainer("RAE_L2", decoder_optimizer_cls="Rprop"),
        "trainer with model.reg_weight: CoupledOptimizerTrainerConfig refuses it",
    ),
    "negative weight decay": (
        with_model("RAE_L2", reg_weight=-1.0),
        "trainer with model.reg_weight: CoupledOptimizerTrainerConfig refuses it",
    ),
    "trainer of one optimizer": (
        ("PIWAE", {"trainer": made.trainer(made.MODELS["VAE"])}),
        "trainer.name: a PIWAEConfig is trained with CoupledOptimizerTrainerConfig",
    ),
    "rate that is not read": (
        with_trainer("FactorVAE", learning_rate=0.1),
        "trainer.learning_rate: AdversarialTrainerConfig does not read it; it has "
        "autoencoder_learning_rate, discriminator_learning_rate",
    ),
    "precision that is not read": (
        with_trainer("FactorVAE", amp=True),
        "trainer.amp: AdversarialTrainerConfig does not read it; leave it out",
    ),
    "noise": (
        ("RAE_L2", {"engine": {"latent_noise": 0.1}}),
        "engine.latent_noise: a RAE_L2_Config has no place for it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_fail_late_is_one_line(case: str) -> None:
    (kind, changes), message = BAD[case]
    with pytest.raises(StudyError) as error:
        build_model(made_run(kind, **changes))
    assert message in str(error.value)
    assert str(error.value).startswith("run.json: ") and "\n" not in str(error.value)


def test_one_pseudo_input_and_batch_normalisation(small: Dataset) -> None:
    model = made_pythae.MODELS["VAMP"] | {"number_components": 1}
    check_last_batches(made_run("VAMP", model=model), small)
    with pytest.raises(StudyError, match="model.number_components: at least 2 are wanted with"):
        check_last_batches(made_run("VAMP", model=model, networks=CONVNET), small)


def test_saved_metric_that_is_cut_off(tmp_path: Path, small: Dataset) -> None:
    """RHVAE's metric stands in model.pt beside the weights."""
    train_run(made_run("RHVAE"), small, tmp_path / "out")
    file = RunDirectory(tmp_path / "out").final_model / "model.pt"
    saved = torch.load(file, weights_only=True)
    assert saved["M"].shape == (len(saved["centroids"]), 3, 3)
    torch.save({"model_state_dict": saved["model_state_dict"]}, file)
    with pytest.raises(StudyError, match="model.pt: cannot be loaded"):
        load_trained(tmp_path / "out")
