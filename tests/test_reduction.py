"""`engine.reduction`, `engine.sampled_std`: against Pythae, torch's distributions, and as runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pythae.models import VAE, AutoModel, BetaVAE
from torch.distributions import Normal, kl_divergence

from evaluate.run import evaluate_run
from study.datasets import open_dataset
from study.errors import StudyError
from study.jsonfile import read_json_object
from study.rundir import RunDirectory
from study.runs import load_run
from study.schema import GaussianLikelihood
from tests import made
from tests.test_changed import LINEAR, closest, images, model_of, outcome
from tests.training import train
from train.latents import latents_of
from train.latents.base import GaussianPosterior
from train.latents.draws import AGGREGATE, Noise
from train.run import load_trained, train_run

PIXELS = 28 * 28
MEAN = {"reduction": "mean"}
STD = {"sampled_std": "exp_log_var"}


def both(kind: str, engine: dict[str, Any], loss: str = "mse") -> tuple[Any, Any]:
    """Pythae's model, which it is where `engine` asks for nothing, and the changed one: the same
    weights."""
    stock, ours = (model_of(kind, e, reconstruction_loss=loss) for e in ({}, engine))
    assert type(stock) is {"VAE": VAE, "BetaVAE": BetaVAE}[kind]
    assert isinstance(ours, type(stock)) and type(ours) is not type(stock)
    return stock, ours


def spread(model: Any) -> None:
    """Posteriors whose standard deviations are far from each other, and from 1."""
    with torch.no_grad():
        model.encoder.log_var.weight.mul_(8)
        model.encoder.log_var.bias.copy_(torch.tensor([-3.0, -0.5, 0.9]))


# --- the reconstruction term as a mean -----------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize(("kind", "beta"), [("VAE", 1.0), ("BetaVAE", 4.0)])
def test_mean_divides_pythaes_term(kind: str, beta: float, loss: str, training: bool) -> None:
    """Loss, terms and gradients are those of Pythae's terms, put together so."""
    stock, ours = (model.train(training) for model in both(kind, MEAN, loss))
    torch.manual_seed(0)
    theirs = stock({"data": images()})
    written = theirs.recon_loss / PIXELS + beta * theirs.reg_loss
    written.backward()
    got, gradients = outcome(ours)
    torch.testing.assert_close(got.loss, written, rtol=1e-6, atol=0)
    torch.testing.assert_close(got.recon_loss, theirs.recon_loss / PIXELS, rtol=1e-6, atol=0)
    assert torch.equal(got.reg_loss, theirs.reg_loss) and torch.equal(got.z, theirs.z)
    closest(gradients, {name: p.grad for name, p in stock.named_parameters()})


def test_mean_is_half_of_torchs_mean_squared_error() -> None:
    got = outcome(model_of("BetaVAE", MEAN))[0]
    want = torch.nn.functional.mse_loss(got.recon_x, images()) / 2
    torch.testing.assert_close(got.recon_loss, want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize(("kind", "beta"), [("VAE", 1.0), ("BetaVAE", 4.0)])
def test_mean_with_a_warmup_and_free_bits(kind: str, beta: float, loss: str) -> None:
    stock = model_of(kind, {}, reconstruction_loss=loss)
    torch.manual_seed(0)
    recon_loss = stock({"data": images()}).recon_loss
    q = stock.encoder(images())
    divergences = kl_divergence(Normal(q.embedding, (q.log_covariance / 2).exp()), Normal(0, 1))
    divergences = divergences.mean(0)
    low, middle, high = sorted(divergences.tolist())
    free = (low + middle) / 2
    charged = sum(kl if kl > free else free for kl in divergences)
    (recon_loss / PIXELS + 0.25 * beta * charged).backward()
    engine = MEAN | {"kl_warmup": LINEAR, "free_bits": free}
    ours = model_of(kind, engine, reconstruction_loss=loss)
    ours.anneal(1.0)
    got, gradients = outcome(ours)
    want = recon_loss.item() / PIXELS + 0.25 * beta * float(charged)
    assert got.loss.item() == pytest.approx(want, rel=1e-5)
    assert got.reg_loss.item() == pytest.approx(low + middle + high, rel=1e-4)
    closest(gradients, {name: p.grad for name, p in stock.named_parameters()})


# --- the standard deviation of z -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_z_has_the_standard_deviation_asked_for(kind: str) -> None:
    """Given the noise, and over many draws; the KL is that of log_var, a log-variance."""
    stock, ours = both(kind, STD)
    for model in (stock, ours):
        spread(model)
    with torch.no_grad():
        torch.manual_seed(7)
        theirs = stock({"data": images()})
        torch.manual_seed(7)
        got = ours({"data": images()})
        torch.manual_seed(7)
        noise = torch.randn(9, 3)
        q = ours.encoder(images())
        torch.testing.assert_close(got.z, q.embedding + q.log_covariance.exp() * noise)
        torch.testing.assert_close(theirs.z, q.embedding + (q.log_covariance / 2).exp() * noise)
        assert torch.equal(got.reg_loss, theirs.reg_loss)
        assert not torch.allclose(got.recon_loss, theirs.recon_loss, rtol=1e-4)
        one = images(1).expand(20_000, -1, -1, -1)
        drawn = ours({"data": one}).z.std(0)
    # The standard error of a standard deviation of n draws is its 1 / sqrt(2 n)-th: 0.5 %.
    torch.testing.assert_close(drawn, q.log_covariance[0].exp(), rtol=0.025, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_go_through_the_standard_deviation(training: bool) -> None:
    """Against the loss written out with Pythae's networks."""
    stock, ours = (model.train(training) for model in both("BetaVAE", STD))
    torch.manual_seed(0)
    noise = torch.randn(9, 3)
    q = stock.encoder(images())
    z = q.embedding + q.log_covariance.exp() * noise
    squared = (stock.decoder(z).reconstruction - images()).pow(2).sum() / 2 / 9
    posterior = Normal(q.embedding, (q.log_covariance / 2).exp())
    written = squared + 4 * kl_divergence(posterior, Normal(0, 1)).sum() / 9
    written.backward()
    got, gradients = outcome(ours)
    torch.testing.assert_close(got.loss, written, rtol=1e-5, atol=0)
    closest(gradients, {name: p.grad for name, p in stock.named_parameters()})


def test_latents_have_the_posterior_that_is_drawn_from() -> None:
    model = model_of("VAE", STD).eval()
    spread(model)
    with torch.no_grad():
        q = model.encoder(images())
        encoded = latents_of(model).encode(images())
        drawn = latents_of(model).aggregate(images(), Noise(0, AGGREGATE))
    want = Normal(q.embedding.double(), q.log_covariance.double().exp())
    divergence = kl_divergence(want, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(encoded.posterior.kl().double(), divergence, rtol=1e-5, atol=0)
    assert isinstance(encoded.posterior, GaussianPosterior)
    noise = Noise(0, AGGREGATE).draw(9, 3)
    torch.testing.assert_close(drawn, (want.mean + want.stddev * noise).float())


# --- as runs -------------------------------------------------------------------------------------


def test_evaluation_measures_the_posterior_that_is_drawn_from(tmp_path: Path, data: Path) -> None:
    """KL, ELBO and NLL of a trained run, worked out anew with torch's distributions."""
    how = made.EVALUATION | {"elbo_samples": 200, "nll_samples": 200}
    out = train(tmp_path, data, "VAE", engine=STD, evaluation=how)
    evaluate_run(out, data)
    with np.load(out / "per_image.npz", allow_pickle=False) as arrays:
        got = {key: torch.from_numpy(arrays[f"eval.{key}"]) for key in ("KL", "ELBO", "NLL")}
        # Pythae's loss is not what this one was trained with.
        assert "eval.ELBO (as published)" not in arrays and "eval.BCE (as published)" in arrays
    _, model = load_trained(out)
    x = torch.from_numpy(open_dataset(data, "tiny").images("eval").copy()).float() / 255
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        encoded = model.encoder(x)
        q = Normal(encoded.embedding.double(), encoded.log_covariance.double().exp())
        z = q.mean + q.stddev * torch.randn(400, 25, 3, generator=generator).double()
        x_hat = model.decoder(z.reshape(-1, 3).float()).reconstruction.reshape(400, *x.shape)
    prior = Normal(0.0, 1.0)
    torch.testing.assert_close(got["KL"], kl_divergence(q, prior).sum(1), rtol=1e-4, atol=1e-6)
    likelihood = Normal(x_hat.double(), GaussianLikelihood(name="gaussian").sigma)
    log_p = likelihood.log_prob(x.double()).sum((2, 3, 4))
    elbo = log_p.mean(0) - kl_divergence(q, prior).sum(1)
    assert (got["ELBO"] - elbo).abs().mean() < 0.5
    weights = log_p + (prior.log_prob(z) - q.log_prob(z)).sum(2)
    nll = np.log(400) - weights.logsumexp(0)
    assert (got["NLL"] - nll).abs().mean() < 0.5
    # The posterior of log_var, a log-variance, would not do.
    other = Normal(encoded.embedding.double(), (encoded.log_covariance.double() / 2).exp())
    off = kl_divergence(other, prior).sum(1) - got["KL"]
    assert off.abs().mean() > 10 * (got["KL"] - kl_divergence(q, prior).sum(1)).abs().mean()


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_saved_model_opens_as_pythaes(kind: str, tmp_path: Path, data: Path) -> None:
    """With the same weights, and so the same means, codes and images of given latents."""
    out = train(tmp_path, data, kind, engine=MEAN | STD)
    opened = AutoModel.load_from_folder(str(out / "final_model")).eval()
    assert type(opened) is {"VAE": VAE, "BetaVAE": BetaVAE}[kind]
    _, model = load_trained(out)
    mine, theirs = model.state_dict(), opened.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert type(model) is not type(opened) and model.log_variances == 2 and model.reduction


@pytest.mark.parametrize("engine", [MEAN, STD], ids=["mean", "std"])
def test_another_loss_is_another_run(engine: dict, tmp_path: Path, data: Path) -> None:
    """And a run of a version that had no word for it is one that did without."""
    out = train(tmp_path, data)
    dataset = open_dataset(data, "tiny")
    record = read_json_object(out / "run.json")
    (key,) = engine
    assert record["config"]["engine"].pop(key) is None
    assert record["config"]["evaluation"].pop("latents") is None
    (out / "run.json").write_text(json.dumps(record))
    plain = load_run(made.run_file(tmp_path))
    assert not train_run(plain, dataset, out), "trained already"
    with pytest.raises(StudyError, match=rf"engine\.{key}"):
        train_run(load_run(made.run_file(tmp_path, engine=engine)), dataset, out)
    assert RunDirectory(out).trained


def test_trained_and_evaluated_by_the_commands(tmp_path: Path, data: Path) -> None:
    file = made.run_file(tmp_path, "BetaVAE", engine=MEAN | STD)
    out, words = tmp_path / "out", ["--data", str(data)]
    for command in (["train", str(file), "--out", str(out)], ["evaluate", str(out)]):
        call = [sys.executable, "-m", *command, *words]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = read_json_object(out / "metrics.json")["splits"]["eval"]["metrics"]
    _, model = load_trained(out)
    x = torch.from_numpy(open_dataset(data, "tiny").images("eval").copy()).float() / 255
    with torch.no_grad():
        want = latents_of(model).encode(x).posterior.kl().mean().item()
    assert found["KL"]["mean"] == pytest.approx(want, rel=1e-5)
    last = json.loads((out / "history.jsonl").read_text().splitlines()[-1])["eval"]
    assert last["recon_loss"] < 0.5, "half a mean over pixels in [0, 1]"
    assert last["loss"] == pytest.approx(last["recon_loss"] + 4 * last["reg_loss"], rel=1e-5)
