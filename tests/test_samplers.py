"""Samplers fitted to latents and to codes: what they learn, and that their draws are fixed."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pythae.models import VAEConfig, VQVAEConfig

from study.errors import RunFailed, StudyError
from study.runs import parse_run
from study.samplers import check_samplers, samplers_of
from study.schema import SamplerName
from tests import made, made_pythae
from train.latents import KINDS, fitted, pixelcnn
from train.latents.base import GaussianLatents
from train.latents.codes import QuantisedLatents
from train.latents.draws import Blocks, draw_codes
from train.latents.fitted import FITTED, Affine
from train.latents.learning import Recipe
from train.models import build_model

RNG = np.random.default_rng(3)
START = RNG.bit_generator.state
LEARNT = Recipe(steps=100, batch=64, rate=4e-3, checks=4)


@pytest.fixture(autouse=True)
def same_data_in_any_order() -> None:
    RNG.bit_generator.state = START


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits that are next to none, where what is learnt does not matter."""
    few = Recipe(steps=4, batch=64, rate=3e-3, checks=2)
    monkeypatch.setattr(fitted, "_MAF", few)
    monkeypatch.setattr(pixelcnn, "_RECIPE", few)
    monkeypatch.setattr(Blocks, "SIZE", 32)


class Known(torch.nn.Module):
    """An encoder whose posterior of an image is N(2 x, 0.25 I), x the image's first pixels."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = 2 * x.flatten(1)
        return {"embedding": mean, "log_covariance": torch.full_like(mean, np.log(0.25))}


def known_latents(dim: int = 3) -> GaussianLatents:
    model = torch.nn.Module()
    model.encoder = Known()
    model.device_of = torch.nn.Parameter(torch.zeros(1))
    model.model_config = VAEConfig(input_dim=(1, 1, dim), latent_dim=dim)
    return GaussianLatents(model)


def passes(rows: np.ndarray, size: int) -> tuple[Callable[[], Iterator[torch.Tensor]], list[int]]:
    """A training split of N x D "images" in batches of `size`, and a list that counts its reads."""
    images = torch.from_numpy(rows.astype(np.float32))[:, None, None]
    reads: list[int] = []

    def training() -> Iterator[torch.Tensor]:
        reads.append(1)
        return iter(images.split(size))

    return training, reads


@torch.inference_mode()
def test_gaussian_is_that_of_the_aggregate_posterior() -> None:
    turn = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.4, 0.2, 0.3]])
    training, _ = passes(RNG.normal(size=(20_000, 3)) @ turn.T + [1, -2, 0.5], 64)
    (sampler,) = known_latents().samplers(training, ["gaussian"])
    z = sampler.draw(20_000).numpy()
    np.testing.assert_allclose(z.mean(0), [2, -4, 1], atol=0.06)
    # The posterior's own variance is part of it: the means alone would lack 0.25.
    want = 4 * turn @ turn.T + 0.25 * np.eye(3)
    np.testing.assert_allclose(np.cov(z.T), want, atol=0.15)


@torch.inference_mode()
def test_latents_are_encoded_once_and_only_if_needed(quick: None) -> None:
    rows = RNG.normal(size=(200, 3))
    training, reads = passes(rows, 50)
    latents = known_latents()
    assert [one.key for one in latents.samplers(training, None)] == ["prior"] and not reads
    asked = ["maf", "prior", "mixture", "gaussian"]
    assert [one.key for one in latents.samplers(training, asked)] == asked and len(reads) == 1


@torch.inference_mode()
def test_a_fit_does_not_hang_on_the_batches_of_the_training_split() -> None:
    rows = RNG.normal(size=(100, 3))
    draws = [known_latents().samplers(passes(rows, n)[0], ["gaussian"])[0].draw(5) for n in (7, 64)]
    torch.testing.assert_close(*draws, rtol=1e-5, atol=1e-5)


def clusters(count: int) -> np.ndarray:
    """Two narrow clusters at -5 and 5 on the first axis."""
    z = 0.3 * RNG.normal(size=(count, 2))
    z[:, 0] += np.where(np.arange(count) % 4 == 0, -5.0, 5.0)
    return z.astype(np.float32)


def test_mixture_keeps_two_clusters_apart_where_a_gaussian_does_not() -> None:
    z = clusters(2000)
    between = {key: FITTED[key](z).draw(4000).numpy()[:, 0] for key in ("gaussian", "mixture")}
    assert (np.abs(between["mixture"]) < 3).mean() < 0.005
    assert (np.abs(between["gaussian"]) < 3).mean() > 0.2
    assert (between["mixture"] < 0).mean() == pytest.approx(0.25, abs=0.03)


def test_mixture_of_few_latents_has_fewer_parts() -> None:
    z = RNG.normal(size=(7, 5)).astype(np.float32)
    assert np.isfinite(fitted.mixture(z).draw(50).numpy()).all()


def banana(count: int) -> np.ndarray:
    a, b = RNG.normal(size=(2, count))
    return np.stack([a, a**2 + 0.3 * b], 1).astype(np.float32) * 4 + 1


def test_maf_bends_where_a_gaussian_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fitted, "_MAF", dataclasses.replace(fitted._MAF, steps=300, batch=256, rate=3e-3)
    )
    networks = []
    build = fitted._flow
    monkeypatch.setattr(fitted, "_flow", lambda dim: networks.append(build(dim)) or networks[0])
    z, held_out = banana(4000), banana(2000)
    drawn = fitted.maf(z).draw(8000).numpy()
    affine = Affine.of(z)
    n = torch.from_numpy(affine.back(held_out).astype(np.float32))
    of_gaussian = (0.5 * n.square().sum(1) + np.log(2 * np.pi)).mean()
    assert fitted.maf_loss(networks[0], n).mean() < of_gaussian - 0.5
    np.testing.assert_allclose(drawn.mean(0), z.mean(0), atol=0.5)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(z.T), rtol=0.2, atol=3)
    # On the curve: the Gaussian's residual from it is of the size of the data themselves.
    for points, low, high in ((drawn, 0.2, 0.6), (FITTED["gaussian"](z).draw(8000), 1.0, 9)):
        first, second = ((np.asarray(points) - 1) / 4).T
        assert low < np.std(second - first**2) < high


def test_maf_begins_where_the_gaussian_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "_MAF", dataclasses.replace(LEARNT, steps=1, rate=1e-12))
    z = clusters(200)
    torch.testing.assert_close(fitted.maf(z).draw(9), FITTED["gaussian"](z).draw(9))


def test_maf_of_few_latents_stays_within_reach_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns twelve latents by heart; what it makes of the prior's ends must not run away."""
    monkeypatch.setattr(fitted, "_MAF", dataclasses.replace(LEARNT, patience=99))
    z = RNG.normal(size=(12, 3)).astype(np.float32)
    assert fitted.maf(z).draw(1000).abs().max() < 1000


@pytest.mark.parametrize("key", FITTED)
def test_fitted_draws_are_the_same_in_any_portions(key: str, quick: None) -> None:
    z = banana(300)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    whole = FITTED[key](z).draw(128)
    for size in (1, 7, 64):
        again = FITTED[key](z)
        parts = torch.cat([again.draw(size) for _ in range(128 // size)])
        assert torch.equal(parts, whole[: len(parts)])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.get_num_threads() == before[2]
    assert whole.dtype == torch.float32


def test_a_dimension_that_is_never_used_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "_MAF", LEARNT)
    z = np.concatenate([banana(300), np.full((300, 1), 2, np.float32)], 1)
    for key, sampler in FITTED.items():
        drawn = sampler(z).draw(100)
        assert drawn.isfinite().all(), key
        torch.testing.assert_close(drawn[:, 2], torch.full((100,), 2.0), rtol=0, atol=0.1)


@pytest.mark.parametrize("key", FITTED)
@pytest.mark.parametrize(
    ("z", "says"),
    [
        (np.full((20, 2), np.nan, np.float32), "not finite"),
        (np.ones((20, 2), np.float32), "are the same"),
        (np.ones((1, 2), np.float32), "at least 2"),
    ],
)
def test_a_fit_that_fails_says_why(key: str, z: np.ndarray, says: str) -> None:
    with pytest.raises(RunFailed, match=says):
        FITTED[key](z)


class Coder(torch.nn.Module):
    """Images are the codes themselves: an encoder that gives their codebook entries."""

    def __init__(self, book: torch.Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.book, self.shape = book, shape

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        entries = self.book[x.flatten(1).long()]
        if len(self.shape) == 1:
            return {"embedding": entries.flatten(1)}
        return {"embedding": entries.transpose(1, 2).reshape(len(x), *self.shape)}


def coded(flat: bool, ema: bool) -> QuantisedLatents:
    """A VQ-VAE of 8 codes: 6 flat positions, or a grid of 3 x 2 with entries of 4 numbers."""
    from pythae.models.vq_vae.vq_vae_utils import Quantizer, QuantizerEMA

    shape = (6,) if flat else (4, 3, 2)
    config = VQVAEConfig(input_dim=(1, 1, 6), latent_dim=shape[0], num_embeddings=8, use_ema=ema)
    config.embedding_dim = 1 if flat else 4
    model = torch.nn.Module()
    model.quantizer = (QuantizerEMA if ema else Quantizer)(config)
    book = torch.arange(8.0)[:, None].repeat(1, config.embedding_dim)
    entries = model.quantizer.embeddings
    with torch.no_grad():
        (entries if ema else entries.weight).copy_(book)
    model.encoder = Coder(book, shape)
    model.model_config = config
    model.device_of = torch.nn.Parameter(torch.zeros(1))
    return QuantisedLatents(model.eval())


def chained(count: int) -> np.ndarray:
    """Codes whose first, 0 to 5, decides all: +0, +1, ... (mod 6) by position; 6, 7 never seen."""
    return (RNG.integers(0, 6, (count, 1)) + np.arange(6)) % 6


def codes_of(latents: QuantisedLatents, z: torch.Tensor) -> np.ndarray:
    rows = z[:, None] if z.ndim == 2 else z.flatten(2)
    return rows[:, 0].round().long().numpy()


@pytest.mark.parametrize(("flat", "ema"), [(False, False), (False, True), (True, True)])
@torch.inference_mode()
def test_pixelcnn_learns_what_a_marginal_cannot(
    flat: bool, ema: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixelcnn, "_RECIPE", LEARNT)
    latents = coded(flat, ema)
    training, reads = passes(chained(600), 64)
    pixels, marginal = latents.samplers(training, ["pixelcnn", "marginal"])
    assert pixels.key == "pixelcnn" and len(reads) == 1
    right = {}
    for sampler in (pixels, marginal):
        z = sampler.draw(512)
        assert z.shape == ((512, 6) if flat else (512, 4, 3, 2))
        codes = codes_of(latents, z)
        assert codes.max() < 6, "a code that was never seen"
        right[sampler.key] = (np.diff(codes, axis=1) % 6 == 1).all(1).mean()
        share = np.bincount(codes[:, 0], minlength=6) / 512
        np.testing.assert_allclose(share, 1 / 6, atol=0.1)
    assert right["pixelcnn"] > 0.9 and right["marginal"] < 0.02


def test_pixelcnn_sees_only_what_came_before() -> None:
    codes = chained(100)
    for sides, flat in (((3, 2), False), ((1, 6), True)):
        counts = torch.ones(6, 8)
        torch.manual_seed(0)
        network = pixelcnn.CodePrior(counts, sides, flat)
        torch.nn.init.normal_(network.last.weight)
        network.double()
        x = torch.from_numpy(codes[:2])
        for i in range(6):
            other = x.clone()
            other[:, i] = (other[:, i] + 1) % 6
            moved = (network(other) - network(x)).abs().amax((0, 1)) > 0
            assert not moved[: i + 1].any()
            assert moved[i + 1 :].all(), "every later position sees it"


@torch.inference_mode()
def test_pixelcnn_draws_are_the_same_in_any_portions(quick: None) -> None:
    codes = chained(200).astype(np.int16)
    before = torch.get_rng_state()
    whole = pixelcnn.pixelcnn(codes, (3, 2), 8).draw(128)
    for size in (1, 7, 64):
        again = pixelcnn.pixelcnn(codes, (3, 2), 8)
        parts = torch.cat([again.draw(size) for _ in range(128 // size)])
        assert torch.equal(parts, whole[: len(parts)])
    assert torch.equal(torch.get_rng_state(), before)


@torch.inference_mode()
def test_uniform_codes_read_no_training_image() -> None:
    training, reads = passes(chained(20), 5)
    coded(True, False).samplers(training, ["uniform"])
    assert not reads


def test_blocks_hand_out_every_row_once() -> None:
    numbers = iter(range(10_000))
    blocks = Blocks(lambda count: np.array([next(numbers) for _ in range(count)]))
    drawn = torch.cat([blocks.draw(n) for n in (0, 1, 300, 699, 0, 25)])
    assert drawn.tolist() == list(range(1025))


def test_largest_u_finds_a_code_of_cumulative_shares() -> None:
    shares = np.array([0.1, 0.9, 0.9999999999999999])
    assert draw_codes(np.array(1 - 2**-53), shares) == 2


def model_of(kind: str, **changes: object) -> Any:
    model = made_pythae.MODELS[kind] | changes
    run = parse_run(made_pythae.run_config(kind, model=model), Path("run.json"))
    return build_model(run.with_shape((1, 28, 28))).eval()


@pytest.mark.parametrize("kind", made_pythae.MODELS)
@torch.inference_mode()
def test_every_model_has_the_samplers_that_the_table_says(kind: str, quick: None) -> None:
    from train.latents import latents_of

    model = model_of(kind)
    latents = latents_of(model)
    x = torch.from_numpy(made.images(12, (1, 28, 28))).float() / 255
    for key in get_args(SamplerName):
        if key in samplers_of(model.model_config):
            (sampler,) = latents.samplers(lambda: iter([x]), [key])
            assert sampler.key == key
            assert latents.decode(sampler.draw(3)).shape == (3, 1, 28, 28)
        else:
            with pytest.raises(StudyError, match=rf"samplers\[0\]: a \w+ has no '{key}'"):
                latents.samplers(lambda: iter([x]), [key])


@pytest.mark.parametrize("kind", ["VAE_IAF", "VAE_LinNF", "VAMP"])
@torch.inference_mode()
def test_aggregate_posterior_is_drawn_as_forward_draws_it(kind: str) -> None:
    """Their spread about one image, against Pythae's own draws of it."""
    from train.latents import latents_of
    from train.latents.draws import AGGREGATE, Noise

    model = model_of(kind)
    x = torch.from_numpy(made.images(1, (1, 28, 28))).float().expand(4000, -1, -1, -1) / 255
    ours = latents_of(model).aggregate(x, Noise(0, AGGREGATE))
    torch.manual_seed(0)
    theirs = model({"data": x}).z
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.08, atol=0.02)


@pytest.mark.parametrize(
    ("kind", "asked", "says"),
    [
        ("VAE", ["prior", "pixelcnn"], r"run.json: evaluation.samplers\[1\]: .* no codebook"),
        ("VQVAE", ["gaussian"], r"evaluation.samplers\[0\]: .* its latents are codes; known here"),
        ("SVAE", ["maf"], "on a sphere"),
        ("PoincareVAE", ["mixture"], "in a ball"),
        ("RHVAE", ["gaussian"], "Hamiltonian"),
        ("AE", ["maf", "maf"], "twice"),
    ],
)
def test_a_sampler_that_a_model_lacks_is_refused_with_its_config(
    kind: str, asked: list[str], says: str
) -> None:
    config = made_pythae.run_config(kind)
    config["evaluation"] = config.get("evaluation", {}) | {"samplers": asked}
    with pytest.raises(StudyError, match=says):
        parse_run(config, Path("run.json"))


def test_a_flow_needs_two_dimensions() -> None:
    with pytest.raises(StudyError, match="latent_dim of at least 2"):
        check_samplers(VAEConfig(latent_dim=1), ["maf"], "run.json")
    check_samplers(VAEConfig(latent_dim=1), ["mixture"], "run.json")
    check_samplers(SimpleNamespace(latent_dim=2), None, "run.json")


def test_kinds_and_their_samplers_are_of_the_same_configs() -> None:
    from study.samplers import _ONLY_ITS_PRIOR

    assert set(_ONLY_ITS_PRIOR) <= set(KINDS)
