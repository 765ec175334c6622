"""KL warm-up and free bits: against the written formulas, against Pythae, and as they are saved."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pythae.models import VAE, AutoModel, BetaVAE
from pythae.trainers.trainer_utils import set_seed

from evaluate.figures.terms import panels
from study.errors import StudyError
from study.runs import load_run, parse_run
from study.schema_training import CyclicWarmup, LinearWarmup
from tests import made, made_pythae
from tests.training import train
from train.models import build_model
from train.models.changed import charged_kl, kl_weight

LINEAR = {"name": "linear", "epochs": 4.0}
CYCLIC = {"name": "cyclic", "epochs": 2.0, "cycles": 3, "rise": 0.5}


def model_of(kind: str, engine: dict[str, Any], **model: object) -> Any:
    config = made.run_config(kind, model=made.MODELS[kind] | model, engine=engine)
    set_seed(5)
    return build_model(parse_run(config, Path("run.json")).with_shape((1, 28, 28)))


def images(count: int = 9) -> torch.Tensor:
    return torch.from_numpy(made.images(count, (1, 28, 28))).float() / 255


def outcome(model: Any, seed: int = 0) -> tuple[Any, dict[str, torch.Tensor]]:
    """Output on the same images with the same draws, and the gradients of its loss."""
    torch.manual_seed(seed)
    output = model({"data": images()})
    model.zero_grad()
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters()}


def closest(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("done", "want"), [(0, 0), (0.5, 0.125), (1, 0.25), (3.999, 0.99975), (4, 1), (4.5, 1), (99, 1)]
)
def test_linear_warmup(done: float, want: float) -> None:
    assert kl_weight(LinearWarmup(**LINEAR), done) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    ("done", "want"),
    [
        *[(0, 0), (0.25, 0.25), (0.999, 0.999), (1, 1), (1.5, 1), (1.999, 1)],
        # A cycle's border is the start of the next one; after the last there is none.
        *[(2, 0), (2.5, 0.5), (3, 1), (3.75, 1), (4, 0), (5.75, 1), (6, 1), (6.1, 1), (50, 1)],
    ],
)
def test_cyclic_warmup(done: float, want: float) -> None:
    assert kl_weight(CyclicWarmup(**CYCLIC), done) == pytest.approx(want, abs=1e-12)


def test_cyclic_warmup_is_the_papers() -> None:
    """Fu et al. 2019: T steps, M cycles, τ = mod(t - 1, T/M) / (T/M), τ / R up to R, then 1."""
    steps, cycles, rise, per_epoch = 240, 4, 0.6, 12
    warmup = CyclicWarmup(name="cyclic", epochs=steps / cycles / per_epoch, rise=rise)
    assert warmup.cycles == cycles and CyclicWarmup(name="cyclic", epochs=1.0).rise == 0.5
    for t in range(1, steps + 1):
        tau = math.fmod(t - 1, steps // cycles) / (steps // cycles)
        want = tau / rise if tau <= rise else 1.0
        assert kl_weight(warmup, (t - 1) / per_epoch) == pytest.approx(want, abs=1e-9), t


def test_no_warmup_weighs_one() -> None:
    assert kl_weight(None, 0.0) == kl_weight(None, 7.0) == 1


def test_free_bits_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    log_var = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    mu[:, 2] *= 0.01
    log_var[:, 2] *= 0.01
    want, free = 0.0, 0.6
    paid = 0
    for j in range(5):
        mean = 0.0
        for i in range(6):
            m, v = mu[i, j].item(), math.exp(log_var[i, j].item())
            mean += 0.5 * (m * m + v - 1 - math.log(v)) / 6
        paid += mean > free
        want += max(free, mean)
    assert 0 < paid < 5, "some of the dimensions are above it"
    assert charged_kl(mu, log_var, free).item() == pytest.approx(want, rel=1e-13)


def test_free_dimensions_have_no_gradient() -> None:
    mu = torch.tensor([[0.1, 2.0], [0.2, -2.0]], dtype=torch.float64, requires_grad=True)
    charged_kl(mu, torch.zeros_like(mu), 0.5).backward()
    # Of mean μ²/2 over two images the gradient is μ/2.
    assert mu.grad.tolist() == [[0.0, 1.0], [0.0, -1.0]]


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_at_full_weight_the_gradients_are_pythaes(kind: str) -> None:
    stock = model_of(kind, {})
    assert type(stock) is {"VAE": VAE, "BetaVAE": BetaVAE}[kind]
    ours = model_of(kind, {"kl_warmup": LINEAR})
    ours.anneal(4.0)
    want, gradients = outcome(stock)
    got, our_gradients = outcome(ours)
    for term in ("loss", "recon_loss", "reg_loss"):
        torch.testing.assert_close(got[term], want[term], rtol=1e-6, atol=0)
    closest(our_gradients, gradients)
    assert got.kl_weight.shape == () and got.kl_weight.item() == 1


@pytest.mark.parametrize(("kind", "beta"), [("VAE", 1.0), ("BetaVAE", 4.0)])
def test_a_weight_is_a_beta(kind: str, beta: float) -> None:
    """Half way a VAE is Pythae's BetaVAE at β = 0.5, a BetaVAE at β = 4 that at 2."""
    ours = model_of(kind, {"kl_warmup": LINEAR})
    ours.anneal(2.0)
    like = {"reconstruction_loss": made.MODELS[kind].get("reconstruction_loss", "mse")}
    stock = model_of("BetaVAE", {}, beta=beta / 2, **like)
    got, gradients = outcome(ours)
    want, stock_gradients = outcome(stock)
    torch.testing.assert_close(got.loss, want.loss, rtol=1e-6, atol=0)
    closest(gradients, stock_gradients)
    torch.testing.assert_close(got.reg_loss, want.reg_loss)


@pytest.mark.parametrize(("kind", "beta"), [("VAE", 1.0), ("BetaVAE", 4.0)])
def test_free_bits_and_weight_in_the_loss(kind: str, beta: float) -> None:
    """Against the loss written out with Pythae's model, its gradients with it."""
    stock = model_of(kind, {})
    torch.manual_seed(0)
    recon_loss = stock({"data": images()}).recon_loss
    encoded = stock.encoder(images())
    mu, log_var = encoded.embedding, encoded.log_covariance
    divergences = (0.5 * (mu**2 + log_var.exp() - 1 - log_var)).mean(0)
    low, middle, high = sorted(divergences.tolist())
    free = (low + middle) / 2
    written = recon_loss + 0.25 * beta * sum(kl if kl > free else free for kl in divergences)
    written.backward()
    ours = model_of(kind, {"free_bits": free, "kl_warmup": LINEAR})
    ours.anneal(1.0)
    got, gradients = outcome(ours)
    torch.testing.assert_close(got.loss, written, rtol=1e-6, atol=0)
    torch.testing.assert_close(got.reg_loss.item(), low + middle + high, rtol=1e-5, atol=0)
    closest(gradients, {name: p.grad for name, p in stock.named_parameters()})
    nothing_free = model_of(kind, {"kl_warmup": LINEAR})
    nothing_free.anneal(1.0)
    name = "encoder.log_var.weight"
    assert not torch.allclose(outcome(nothing_free)[1][name], gradients[name], rtol=1e-3)


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_in_eval_mode_the_loss_is_pythaes_to_the_bit(kind: str) -> None:
    """So that losses of epochs of any weight compare."""
    stock = model_of(kind, {}).eval()
    ours = model_of(kind, {"kl_warmup": CYCLIC, "free_bits": 2.0}).eval()
    ours.anneal(0.25)
    want, got = outcome(stock)[0], outcome(ours)[0]
    assert got.keys() == want.keys()
    assert all(torch.equal(got[term], want[term]) for term in want)


def test_the_weight_is_no_state() -> None:
    """Two models with the same weights that came different ways stand alike."""
    engine = {"kl_warmup": CYCLIC, "free_bits": 0.1}
    undisturbed, resumed = (model_of("VAE", engine) for _ in range(2))
    for step in range(33):
        undisturbed.anneal(step / 7)
    assert undisturbed.state_dict().keys() == model_of("VAE", {}).state_dict().keys()
    resumed.load_state_dict(undisturbed.state_dict())
    resumed.anneal(32 / 7)
    one, two = outcome(undisturbed), outcome(resumed)
    assert torch.equal(one[0].loss, two[0].loss) and 0 < undisturbed.kl_weight < 1
    assert all(torch.equal(one[1][name], gradient) for name, gradient in two[1].items())


def test_the_weight_is_told_in_training_where_there_is_a_warmup() -> None:
    model = model_of("VAE", {"kl_warmup": LINEAR})
    model.anneal(0.4)
    weight = model({"data": images()}).kl_weight
    assert weight.ndim == 0 and weight.dtype == torch.float64 and weight.item() == 0.1
    assert "kl_weight" not in model.eval()({"data": images()})
    assert "kl_weight" not in model_of("VAE", {"free_bits": 0.1})({"data": images()})
    shares = next(panel for panel in panels(["loss", "kl_weight"]) if panel.share)
    assert shares.terms == ["kl_weight"]


@pytest.mark.parametrize("kind", ["VAE", "BetaVAE"])
def test_trains_and_is_saved_as_pythaes(kind: str, tmp_path: Path, data: Path) -> None:
    engine = {"kl_warmup": LINEAR, "free_bits": 0.5}
    out = train(tmp_path, data, kind, engine=engine)
    opened = AutoModel.load_from_folder(str(out / "final_model"))
    assert type(opened).__name__ == opened.model_name == kind
    config = json.loads((out / "final_model" / "model_config.json").read_text())
    assert config["name"] == f"{kind}Config"
    state = torch.load(out / "final_model" / "model.pt", weights_only=True)["model_state_dict"]
    assert state.keys() == opened.state_dict().keys()


OPTIONS = {
    "kl_warmup": LINEAR,
    "free_bits": 0.5,
    "reduction": "mean",
    "sampled_std": "exp_log_var",
}


@pytest.mark.parametrize("key", OPTIONS)
def test_other_models_are_refused(key: str, tmp_path: Path) -> None:
    for kind in made_pythae.MODELS:
        if kind in ("VAE", "BetaVAE"):
            continue
        config = made_pythae.run_config(kind, engine={key: OPTIONS[key]})
        file = tmp_path / "run.json"
        file.write_text(json.dumps(config))
        with pytest.raises(StudyError) as error:
            load_run(file)
        name = made_pythae.MODELS[kind]["name"]
        want = f"{file}: engine.{key}: only a VAEConfig or a BetaVAEConfig takes it, not {name}"
        assert str(error.value) == want
