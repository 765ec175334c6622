"""Samples against their own reconstructions, columns as published, limits, and re-evaluation."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from scipy import ndimage, spatial, stats

from evaluate.generate import Asked, generate
from evaluate.measure import Meter
from evaluate.metrics.kl import kl
from evaluate.perceptual import Perceptual
from evaluate.published import as_published
from evaluate.reach import Neighbours
from evaluate.result import Result
from evaluate.run import evaluate_run, up_to_date
from study.datasets import open_dataset
from study.jsonfile import read_json_object
from study.rundir import METRICS_FORMAT, RunDirectory
from study.runs import load_run
from study.schema import Evaluation
from tests import made
from tests.training import train
from train.latents import latents_of
from train.latents.base import POSTERIOR, SAMPLES, Noise
from train.run import load_trained, run_identity


@pytest.fixture(scope="module")
def grid(tmp_path_factory, data) -> Path:
    """A VQ-VAE with 4 x 4 codes."""
    networks = {"name": "convnet28_grid", "width": 2, "grid_side": 4}
    model = made.MODELS["VQVAE"]
    made_in = tmp_path_factory.mktemp("grid")
    return train(made_in, data, "VQVAE", networks=networks, model=model)


def per_image(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "per_image.npz", allow_pickle=False) as arrays:
        return {key.removeprefix("eval."): arrays[key] for key in arrays}


def unit(data: Path, split: str = "eval") -> torch.Tensor:
    return torch.from_numpy(np.array(open_dataset(data, "tiny").images(split))).float() / 255


@pytest.fixture(scope="module")
def beta_vae(tmp_path_factory, data) -> Path:
    """A β-VAE with β = 4 and mean squared error."""
    return train(tmp_path_factory.mktemp("beta"), data, "BetaVAE")


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory, data) -> Path:
    return train(tmp_path_factory.mktemp("vq"), data, "VQVAE")


@torch.no_grad()
def test_self_reconstruction_follows_from_the_model(beta_vae: Path, data: Path) -> None:
    entry = evaluate_run(beta_vae, data, batch_size=7)
    prior = entry["generations"]["prior"]
    assert (prior["title"], prior["samples"]) == ("z ~ N(0, I)", 20)
    run, model = load_trained(beta_vae)
    s = model.decoder(Noise(0, SAMPLES).draw(20, 3)).reconstruction
    q = model.encoder(s)
    again = model.decoder(q.embedding).reconstruction
    got = per_image(beta_vae)
    mse = (s - again).pow(2).mean((1, 2, 3))
    np.testing.assert_allclose(got["generations.prior.MSE"], mse, rtol=1e-4)
    divergence = kl(q.embedding, q.log_covariance)
    np.testing.assert_allclose(got["generations.prior.KL"], divergence, rtol=1e-4, atol=1e-6)
    z = q.embedding + (0.5 * q.log_covariance).exp() * Noise(run.seed, POSTERIOR).draw(20, 3)
    error = (s - model.decoder(z).reconstruction).pow(2).sum((1, 2, 3)) / 2
    elbo = -error - 392 * np.log(2 * np.pi) - divergence
    np.testing.assert_allclose(got["generations.prior.ELBO"], elbo, rtol=1e-5)
    for key, metric in prior["metrics"].items():
        if metric["over"] == "images":
            want = got[f"generations.prior.{key}"]
            assert metric["mean"] == pytest.approx(want.mean(), rel=1e-12)
            assert metric["sd"] == pytest.approx(want.std(ddof=1), rel=1e-12)
    with np.load(beta_vae / "pictures.npz") as pictures:
        shown = pictures["eval.generations.prior"].astype(float)
        assert np.abs(shown - 255 * s[:4].numpy()).max() <= 0.51, "the first of the measured ones"
        shown = pictures["eval.self_reconstructions.prior"].astype(float)
        assert np.abs(shown - 255 * again[:4].numpy()).max() <= 0.51


@torch.no_grad()
def test_posterior_is_not_drawn_with_the_draw_of_the_sample(beta_vae: Path, data: Path) -> None:
    """Of a collapsed model, whose posterior is the prior, two draws are two unrelated images."""
    model = load_trained(beta_vae)[1]
    for layer in (model.encoder.embedding, model.encoder.log_var):
        layer.weight.zero_(), layer.bias.zero_()
    how = Evaluation(lpips=[])
    images = open_dataset(data, "tiny").images("eval")
    asked = Asked(400, 1, 50, Result({}, {}, 1.0, 1.0), Neighbours(images, images))
    for seed in range(4):
        meter = Meter(latents_of(model), how, Perceptual(), seed)
        (sampler,) = meter.latents.samplers(lambda: iter(()))
        result = generate(meter, sampler, asked, "").result
        assert result.per_image["KL"].max() == 0
        unrelated = 784 * result.per_split["diversity"] ** 2 / 2
        got = result.per_image["BCE (as published)"].mean()
        assert got == pytest.approx(unrelated, rel=0.2)


@torch.no_grad()
def test_diversity_and_sharpness_are_relative_to_the_data(beta_vae: Path, data: Path) -> None:
    metrics = evaluate_run(beta_vae, data)["generations"]["prior"]["metrics"]
    model = load_trained(beta_vae)[1]
    s = model.decoder(Noise(0, SAMPLES).draw(20, 3)).reconstruction.double().numpy()
    x = unit(data).double().numpy()

    def distance(images: np.ndarray) -> float:
        return np.sqrt(
            spatial.distance.pdist(images.reshape(len(images), -1), "sqeuclidean").mean()
        )

    def sharp(images: np.ndarray) -> float:
        return np.mean([ndimage.laplace(image[0])[1:-1, 1:-1].var() for image in images])

    assert metrics["diversity"]["mean"] == pytest.approx(distance(s) / distance(x), rel=1e-4)
    assert metrics["sharpness"]["mean"] == pytest.approx(sharp(s) / sharp(x), rel=1e-4)
    assert metrics["diversity"]["sd"] is None and metrics["diversity"]["better"] is None
    assert metrics["sharpness"]["better"] is None


def test_all_seeds_are_measured_on_the_same_draws(tmp_path: Path, data: Path) -> None:
    """The fixed draws show: equal weights and another seed give the same samples."""
    outs = [train(tmp_path / name, data, "AE") for name in ("a", "b")]
    file = outs[1] / "run.json"
    record = json.loads(file.read_text())
    record["config"]["trainer"]["seed"] = 99
    file.write_text(json.dumps(record))
    for out in outs:
        evaluate_run(out, data)
    assert np.array_equal(*(per_image(out)["generations.prior.MSE"] for out in outs))


@torch.no_grad()
def test_vqvae_has_a_codebook_and_two_samplers(vqvae: Path, data: Path) -> None:
    entry = evaluate_run(vqvae, data, batch_size=7)
    assert list(entry["metrics"]) == ["MSE", "PSNR", "BCE", "SSIM", "GMSD", "perplexity", "usage"]
    assert entry["missing"] == {}, "not defined is not the same as missing"
    assert list(entry["generations"]) == ["uniform", "marginal"]
    model = load_trained(vqvae)[1]
    output = model({"data": unit(data)})
    counts = np.bincount(output.quantized_indices.flatten().numpy(), minlength=8)
    perplexity = entry["metrics"]["perplexity"]
    assert perplexity["mean"] == pytest.approx(np.exp(stats.entropy(counts)), rel=1e-9)
    assert perplexity["sd"] is None and perplexity["over"] == "split"
    assert entry["metrics"]["usage"]["mean"] == pytest.approx((counts > 0).mean())
    mse = (output.recon_x - unit(data)).pow(2).mean((1, 2, 3))
    np.testing.assert_allclose(per_image(vqvae)["MSE"], mse, rtol=1e-4)
    for made_of in entry["generations"].values():
        own = ["MSE", "PSNR", "BCE", "SSIM", "GMSD"]
        more = ["diversity", "sharpness", "NN data", "NN train"]
        assert list(made_of["metrics"]) == own + more
    assert "training split" in entry["generations"]["marginal"]["definition"]
    picture = matplotlib.image.imread(vqvae / "generations.png")
    assert picture.shape[0] > 1.5 * matplotlib.image.imread(vqvae / "reconstructions.png").shape[0]


@torch.no_grad()
def test_vqvae_on_a_grid(grid: Path, data: Path) -> None:
    entry = evaluate_run(grid, data, batch_size=10)
    model = load_trained(grid)[1]
    output = model({"data": unit(data)})
    assert output.quantized_indices.shape[-2:] == (4, 4)
    counts = np.bincount(output.quantized_indices.flatten().numpy(), minlength=8)
    want = np.exp(stats.entropy(counts))
    assert entry["metrics"]["perplexity"]["mean"] == pytest.approx(want, rel=1e-9)
    mse = (output.recon_x - unit(data)).pow(2).mean((1, 2, 3))
    np.testing.assert_allclose(per_image(grid)["MSE"], mse, rtol=1e-4)
    assert "all positions'" in entry["generations"]["marginal"]["definition"]


def test_vaegan_has_a_posterior_and_the_talks_columns(tmp_path: Path, data: Path) -> None:
    entry = evaluate_run(train(tmp_path, data, "VAEGAN"), data)
    got = per_image(tmp_path / "out")
    assert {"KL", "ELBO", "BCE (as published)"} < entry["metrics"].keys()
    above = got["ELBO (as published)"] - got["KL"]
    assert above.min() > 0 and above.max() < 1, "a mean squared error"
    assert list(entry["generations"]) == ["prior"]


def test_vqvae_numbers_do_not_depend_on_the_batch(vqvae: Path, data: Path) -> None:
    entries, values = [], []
    for size in (1, 64):
        entries.append(evaluate_run(vqvae, data, batch_size=size))
        values.append(per_image(vqvae))
    assert {"MSE", "generations.uniform.MSE", "generations.marginal.sharpness"} <= values[0].keys()
    for key, value in values[0].items():
        np.testing.assert_allclose(value, values[1][key], rtol=2e-5, atol=2e-6, err_msg=key)
    for key in ("perplexity", "usage"):
        one, other = (entry["metrics"][key]["mean"] for entry in entries)
        assert one == pytest.approx(other, rel=1e-9)
    one, other = (entry["generations"]["marginal"]["metrics"] for entry in entries)
    assert one["diversity"]["mean"] == pytest.approx(other["diversity"]["mean"], rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_as_published_is_pythaes_loss(kind: str, data: Path) -> None:
    """β rows: Pythae's own recon_loss and loss, from its own loss function."""
    from pythae import models

    torch.manual_seed(4)
    config = getattr(models, f"{kind}Config")(input_dim=(1, 28, 28), latent_dim=3)
    model = getattr(models, kind)(config).eval()
    x = unit(data)
    output = model({"data": x})
    q = model.encoder(x)
    loss, error, _ = model.loss_function(output.recon_x, x, q.embedding, q.log_covariance, output.z)
    got = as_published(model, x, output.recon_x, kl(q.embedding, q.log_covariance))
    keys = ("BCE", "ELBO", "MSE", "SSIM", "GMSD")
    assert list(got) == [f"{key} (as published)" for key in keys]
    error_of_a_draw = (output.recon_x - x).pow(2).mean((1, 2, 3))
    torch.testing.assert_close(got["MSE (as published)"], error_of_a_draw)
    assert got["BCE (as published)"].mean().item() == pytest.approx(error.item(), rel=1e-5)
    assert got["ELBO (as published)"].mean().item() == pytest.approx(loss.item(), rel=1e-5)


def test_as_published_of_vaegan_is_per_pixel_and_of_others_is_not_there() -> None:
    from pythae.models import AEConfig, BetaTCVAEConfig, VAEGANConfig

    def of(config: Any, kl: float) -> dict[str, torch.Tensor]:
        x, x_hat = torch.full((1, 1, 12, 12), 0.25), torch.full((1, 1, 12, 12), 0.75)
        return as_published(SimpleNamespace(model_config=config), x, x_hat, torch.tensor([kl]))

    got = of(VAEGANConfig(), 160.0)
    assert got["ELBO (as published)"].item() == pytest.approx(160.25)
    cross = -(0.25 * np.log(0.75) + 0.75 * np.log(0.25))
    assert got["BCE (as published)"].item() == pytest.approx(cross)
    assert of(BetaTCVAEConfig(), 1.0) == of(AEConfig(), 1.0) == {}


@torch.no_grad()
def test_as_published_takes_a_sampled_z(beta_vae: Path, data: Path) -> None:
    entry = evaluate_run(beta_vae, data)
    run, model = load_trained(beta_vae)
    x = unit(data)
    q = model.encoder(x)
    z = q.embedding + (0.5 * q.log_covariance).exp() * Noise(run.seed, POSTERIOR).draw(25, 3)
    error = (x - model.decoder(z).reconstruction).pow(2).sum((1, 2, 3)) / 2
    got = per_image(beta_vae)
    np.testing.assert_allclose(got["BCE (as published)"], error, rtol=1e-4)
    loss = error + 4 * kl(q.embedding, q.log_covariance)
    np.testing.assert_allclose(got["ELBO (as published)"], loss, rtol=1e-4)
    assert entry["metrics"]["ELBO (as published)"]["better"] == "lower"


def test_first_images_of_the_training_split(tmp_path: Path, data: Path) -> None:
    how = made.EVALUATION | {"split": "train", "images": 11}
    out = train(tmp_path, data, "AE", evaluation=how)
    entry = evaluate_run(out, data)
    assert entry["images"] == 11
    assert list(read_json_object(out / "metrics.json")["splits"]) == ["train"]
    with np.load(out / "pictures.npz") as pictures:
        assert pictures["train.index"].max() == 10
    with np.load(out / "per_image.npz") as arrays:
        got = arrays["train.MSE"]
    x = unit(data, "train")[:11]
    model = load_trained(out)[1]
    want = (model.decoder(model.encoder(x).embedding).reconstruction - x).pow(2).mean((1, 2, 3))
    np.testing.assert_allclose(got, want.detach(), rtol=1e-4)


def test_one_image_has_no_spread_to_compare_with(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, "AE", evaluation=made.EVALUATION | {"images": 1})
    prior = evaluate_run(out, data)["generations"]["prior"]
    assert "diversity" not in prior["metrics"] and "sharpness" in prior["metrics"]
    assert "two images" in prior["missing"]["diversity"]


def test_what_makes_an_evaluation_be_done_again(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, "AE")
    directory, tiny = RunDirectory(out), open_dataset(data, "tiny")
    assert not up_to_date(directory, "eval", tiny)
    evaluate_run(out, data)
    assert up_to_date(directory, "eval", tiny) and not up_to_date(directory, "test", tiny)
    metrics = read_json_object(out / "metrics.json")
    assert metrics["format"] == METRICS_FORMAT
    # An older format: nothing of it is read, or kept beside what is measured now.
    old = metrics | {"format": 1, "splits": metrics["splits"] | {"test": {"images": 1}}}
    (out / "metrics.json").write_text(json.dumps(old))
    assert not directory.evaluated("eval") and not up_to_date(directory, "eval", tiny)
    evaluate_run(out, data)
    assert list(directory.measured_splits()) == ["eval"] and up_to_date(directory, "eval", tiny)
    # Another evaluation is taken over, and asks for another measuring.
    file = made.run_file(tmp_path, "AE", evaluation=made.EVALUATION | {"samples": 21})
    directory.take(run_identity(load_run(file), open_dataset(data, "tiny")))
    assert not up_to_date(directory, "eval", tiny)
