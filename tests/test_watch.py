"""Warnings about a history: little runs that go wrong, runs that do not, and the borders."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.runs import load_run
from tests import made, made_pythae
from tests.training import train
from train.history import read_history
from train.models import build_model
from train.run import load_trained
from train.watch import concerns


def told(out: Path) -> tuple[dict[str, list[int]], list[str]]:
    """Kind -> the epochs that it was seen in, and all lines, of a trained run."""
    _, model = load_trained(out)
    history = read_history(out / "history.jsonl")
    kinds: dict[str, list[int]] = {}
    lines = []
    for previous, line in zip([None, *history], history, strict=False):
        for kind, said in concerns(model, line, previous).items():
            kinds.setdefault(kind, []).append(line["epoch"])
            lines.append(said)
            assert "\n" not in said and str(out) not in said
    return kinds, lines


def trained(tmp_path: Path, data: Path, kind: str, model: dict, **changes: Any) -> Path:
    model = made.MODELS[kind] | model
    trainer = made.trainer(model, **changes.pop("trainer", {}))
    return train(tmp_path, data, kind, model=model, trainer=trainer, **changes)


def test_a_beta_of_1000_collapses(tmp_path: Path, data: Path) -> None:
    rate = {"num_epochs": 8, "learning_rate": 0.01}
    out = trained(tmp_path, data, "BetaVAE", {"beta": 1000.0}, trainer=rate)
    kinds, lines = told(out)
    assert kinds.keys() == {"collapse"} and kinds["collapse"][0] < 8
    kl = [line["eval"]["reg_loss"] for line in read_history(out / "history.jsonl")]
    seen = kinds["collapse"][0]
    assert lines[0] == (
        f"posterior collapse: on the eval split the KL was {kl[seen - 2]:.3g} nats in epoch "
        f"{seen - 1} and {kl[seen - 1]:.3g} nats in epoch {seen}; the latent says nothing of the "
        f"image; look at a smaller model.beta, engine.kl_warmup and engine.free_bits"
    )


def test_a_codebook_that_never_moves_is_dead(tmp_path: Path, data: Path) -> None:
    """Its 512 codes lie within 1/512 of 0, and no loss draws them to the embeddings."""
    model = {"num_embeddings": 512, "quantization_loss_factor": 0.0, "commitment_loss_factor": 0.0}
    kinds, lines = told(trained(tmp_path, data, "VQVAE", model, trainer={"num_epochs": 3}))
    assert kinds == {"codebook": [2, 3]}
    assert (
        "the codes in use, of 512, were 2 (perplexity 1." in lines[0]
        and "model.use_ema" in lines[0]
    )


def test_a_discriminator_wins_over_a_decoder_that_stands_still(tmp_path: Path, data: Path) -> None:
    """The margin lets it be updated in every batch."""
    trainer = {
        "num_epochs": 9,
        "discriminator_learning_rate": 2e-3,
        "decoder_learning_rate": 1e-9,
    }
    networks = {"name": "convnet28", "width": 8}
    out = trained(tmp_path, data, "VAEGAN", {"margin": 9.0}, trainer=trainer, networks=networks)
    kinds, lines = told(out)
    assert kinds["discriminator"][-1] == 9
    assert any("trainer.discriminator_learning_rate" in line for line in lines)


@pytest.mark.parametrize("kind", ["AE", "VAE", "VQVAE", "VAEGAN"])
def test_runs_that_are_well_give_nothing(kind: str, tmp_path: Path, data: Path) -> None:
    networks = {"name": "convnet28", "width": 2} if kind == "VAEGAN" else made.MLP
    out = trained(tmp_path, data, kind, {}, trainer={"num_epochs": 4}, networks=networks)
    assert told(out) == ({}, [])


def of(kind: str, **config: Any) -> Any:
    """As much of a model as is looked at."""
    return SimpleNamespace(model_name=kind, model_config=SimpleNamespace(**config))


def pair(first: dict, second: dict, train: tuple[dict, dict] = ({}, {}), at: int = 4) -> tuple:
    """Two lines, the later one first, as `concerns` takes them."""
    lines = [
        {"epoch": at + i, "train": on_train, "eval": on_eval, "seconds": 1.0}
        for i, (on_train, on_eval) in enumerate(zip(train, (first, second), strict=True))
    ]
    return lines[1], lines[0]


KL = [
    *[(0.0999, 0.0999, True), (0.1, 0.05, False), (0.05, 0.1, False), (0.0, -1e-9, True)],
    # From a start at the prior it rises.
    (0.05, 0.051, False),
]


@pytest.mark.parametrize(
    "kind", ["VAE", "BetaVAE", "DisentangledBetaVAE", "INFOVAE_MMD", "MSSSIM_VAE", "SVAE"]
)
@pytest.mark.parametrize(("one", "two", "collapsed"), KL)
def test_border_of_a_collapse(kind: str, one: float, two: float, collapsed: bool) -> None:
    model = of(kind, warmup_epoch=3)
    lines = pair({"reg_loss": one}, {"reg_loss": two})
    assert set(concerns(model, *lines)) == ({"collapse"} if collapsed else set())


def test_a_mean_for_a_reconstruction_term_is_named_first() -> None:
    lines = pair({"reg_loss": 0.01}, {"reg_loss": 0.01})
    for reduction, named in (("mean", True), (None, False)):
        model = of("BetaVAE")
        model.reduction = reduction
        said = concerns(model, *lines)["collapse"]
        assert ("look at engine.reduction, without which" in said) == named
        assert "a smaller model.beta" in said


@pytest.mark.parametrize(("one", "two", "collapsed"), KL)
def test_collapse_of_a_vaegan(one: float, two: float, collapsed: bool) -> None:
    # Of a power of two nothing is lost but what a float cannot hold.
    terms = [{"encoder_loss": 0.125 + kl, "recon_loss": 0.125} for kl in (one, two)]
    assert set(concerns(of("VAEGAN"), *pair(*terms))) == ({"collapse"} if collapsed else set())


def test_no_collapse_of_what_is_no_kl() -> None:
    """An estimate from draws, a sum with other terms, or none at all."""
    zero = {"reg_loss": 0.0, "loss": 0.0, "recon_loss": 0.0, "mmd_loss": 0.0}
    for kind in ("AE", "WAE_MMD", "BetaTCVAE", "IWAE", "VAMP", "VAE_IAF", "PoincareVAE"):
        assert concerns(of(kind), *pair(zero, zero)) == {}


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE", "INFOVAE_MMD", "MSSSIM_VAE", "SVAE", "VAEGAN"])
def test_what_is_taken_for_the_kl_is_it(kind: str, tmp_path: Path, data: Path) -> None:
    """Against KL from the encoder's output; the sphere's against the formula in 3-D."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(made_pythae.run_config(kind)))
    model = build_model(load_run(file).with_shape((1, 28, 28))).eval()
    bias = model.encoder.log_concentration.bias if kind == "SVAE" else model.encoder.log_var.bias
    x = torch.from_numpy(made.images(6, (1, 28, 28))).float() / 255
    with torch.no_grad():
        bias.fill_(2.0)
        output = model({"data": x})
        encoded = model.encoder(x)
    terms = {name: float(v) for name, v in output.items() if name.endswith("loss")}
    gan = kind == "VAEGAN"
    got = terms["encoder_loss"] - terms["recon_loss"] if gan else terms["reg_loss"]
    if kind == "SVAE":
        # In three dimensions: κ coth κ - 1 - ln(sinh κ / κ).
        kappa = torch.nn.functional.softplus(encoded.log_concentration.double()) + 1
        want = kappa / kappa.tanh() - 1 - (kappa.sinh() / kappa).log()
        want = want.mean().item()
    else:
        q = torch.distributions.Normal(encoded.embedding, (0.5 * encoded.log_covariance).exp())
        prior = torch.distributions.Normal(0.0, 1.0)
        want = torch.distributions.kl_divergence(q, prior).sum(1).mean().item()
    assert got == pytest.approx(want, rel=1e-3) and got > 0.3


@pytest.mark.parametrize(
    ("weights", "collapsed"), [((1.0, 1.0), True), ((0.5, 1.0), False), ((0.2, 0.9), False)]
)
def test_no_collapse_during_a_warmup(weights: tuple[float, float], collapsed: bool) -> None:
    on_train = tuple({"kl_weight": weight} for weight in weights)
    lines = pair({"reg_loss": 0.01}, {"reg_loss": 0.01}, train=on_train)
    assert bool(concerns(of("VAE"), *lines)) == collapsed


def test_no_collapse_while_the_capacity_rises() -> None:
    lines = pair({"reg_loss": 0.01}, {"reg_loss": 0.01}, at=3)
    assert concerns(of("DisentangledBetaVAE", warmup_epoch=3), *lines) == {}
    assert concerns(of("DisentangledBetaVAE", warmup_epoch=2), *lines).keys() == {"collapse"}


def test_first_epoch_and_missing_terms_give_nothing() -> None:
    line, _ = pair({"reg_loss": 0.0}, {"reg_loss": 0.0})
    assert concerns(of("VAE"), line, None) == {}
    for kind in ("VAE", "VQVAE", "VAEGAN", "Adversarial_AE", "FactorVAE", "AE"):
        model = of(kind, num_embeddings=8)
        assert concerns(model, *pair({}, {})) == {}
        assert concerns(model, *pair({"loss": 1.0}, {"loss": 1.0})) == {}


def test_without_an_eval_split_training_is_looked_at() -> None:
    low, high = {"reg_loss": 0.02}, {"reg_loss": 5.0}
    said = concerns(of("VAE"), *pair({}, {}, train=(low, low)))
    assert "on the train split the KL was 0.02 nats in epoch 4 and" in said["collapse"]
    assert concerns(of("VAE"), *pair(high, high, train=(low, low))) == {}


@pytest.mark.parametrize(
    ("codes", "usage", "perplexity", "dead"),
    [
        (512, 0.0499, 20.0, True),
        (512, 0.05, 20.0, False),
        (512, 0.5, 1.99, True),
        (512, 0.5, 2.0, False),
        # A codebook of two gives no perplexity above 2.
        (2, 1.0, 1.7, False),
        (3, 1 / 3, 1.0, True),
    ],
)
def test_border_of_a_dead_codebook(codes: int, usage: float, perplexity: float, dead: bool) -> None:
    model = of("VQVAE", num_embeddings=codes)
    bad, good = (
        {"usage": usage, "perplexity": perplexity},
        {"usage": 1.0, "perplexity": codes * 0.9},
    )
    assert set(concerns(model, *pair(bad, bad))) == ({"codebook"} if dead else set())
    assert concerns(model, *pair(bad, good)) == concerns(model, *pair(good, bad)) == {}


@pytest.mark.parametrize(
    ("real", "fake", "won"), [(0.951, 0.049, True), (0.95, 0.01, False), (0.99, 0.051, False)]
)
def test_border_of_a_discriminator_of_images(real: float, fake: float, won: bool) -> None:
    bad, good = {"d_real": real, "d_fake": fake}, {"d_real": 0.6, "d_fake": 0.4}
    assert set(concerns(of("VAEGAN"), *pair(bad, bad))) == ({"discriminator"} if won else set())
    assert (
        concerns(of("VAEGAN"), *pair(good, bad)) == concerns(of("VAEGAN"), *pair(bad, good)) == {}
    )


@pytest.mark.parametrize(("kind", "inputs"), [("Adversarial_AE", 2), ("FactorVAE", 1)])
def test_border_of_a_discriminator_of_latents(kind: str, inputs: int) -> None:
    """At scores of 0.95 for what is true and 0.05 for what is not."""
    border = -inputs * math.log(0.95)
    for loss, won in ((border * 0.999, True), (border * 1.001, False)):
        terms = {"discriminator_loss": loss}
        assert bool(concerns(of(kind), *pair(terms, terms))) == won
    even = {"discriminator_loss": inputs * math.log(2)}
    assert concerns(of(kind), *pair(even, even)) == {}
