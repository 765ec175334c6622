"""Latents of each kind of model, and the samplers of a VQ-VAE."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pythae.models import VAE, VQVAE, VAEConfig, VQVAEConfig

from study.schema_training import ConvGrid, Mlp
from train.latents import KINDS, latents_of
from train.latents.base import POSTERIOR, SAMPLES, Latents, Noise
from train.latents.draws import draw_codes
from train.networks import build_networks

SHAPE = (1, 28, 28)
FLAT = Mlp(name="mlp", encoder=[8], decoder=[8])
GRID = ConvGrid(name="convnet28_grid", width=2, grid_side=4)


def vqvae(flat: bool, ema: bool = False) -> VQVAE:
    """A VQ-VAE of random weights whose 13 codes are all near some embedding."""
    torch.manual_seed(2)
    config = VQVAEConfig(input_dim=SHAPE, latent_dim=5, num_embeddings=13, use_ema=ema)
    parts = build_networks(FLAT if flat else GRID, config, "a test")
    model = VQVAE(config, encoder=parts.encoder, decoder=parts.decoder).eval()
    with torch.no_grad():
        embedding = model.encoder(some(13)).embedding
        places = embedding[:, :1] if flat else embedding.flatten(2)[range(13), :, range(13)]
        latents_of(model)._book.copy_(places + 0.05 * torch.randn_like(places) * places.std(0))
    return model


def some(count: int = 9) -> torch.Tensor:
    """Images of 4 x 4 tiles of random brightness, so that places of a grid differ."""
    tiles = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(count))
    return tiles.repeat_interleave(7, 2).repeat_interleave(7, 3)


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@torch.no_grad()
def test_vqvae_goes_through_its_codebook_as_forward_does(flat: bool, ema: bool) -> None:
    model, x = vqvae(flat, ema), some()
    latents = latents_of(model)
    encoded = latents.encode(x)
    want = model({"data": x})
    assert encoded.posterior is None and latents.codebook == 13
    assert encoded.codes.shape == (9, 5 if flat else 16)
    assert torch.equal(encoded.codes, want.quantized_indices.flatten(1))
    assert len(encoded.codes.unique()) > 3
    torch.testing.assert_close(encoded.z, want.z)
    torch.testing.assert_close(latents.decode(encoded.z), want.recon_x)
    skipped = model.predict(x).recon_x  # Pythae's, past the codebook
    assert (latents.decode(encoded.z) - skipped).abs().max() > 1e-4


@torch.no_grad()
def test_a_flat_code_is_the_nearest_scalar_of_each_dimension() -> None:
    model, x = vqvae(flat=True), some()
    book = model.quantizer.embeddings.weight
    assert book.shape == (13, 1)
    embedding = model.encoder(x).embedding
    nearest = (embedding[:, :, None] - book[None, None, :, 0]).abs().argmin(-1)
    encoded = latents_of(model).encode(x)
    assert torch.equal(encoded.codes, nearest)
    assert torch.equal(encoded.z, book[nearest, 0])


@torch.no_grad()
def test_a_grid_code_is_the_nearest_vector_of_each_place() -> None:
    model, x = vqvae(flat=False), some()
    book = model.quantizer.embeddings.weight
    embedding = model.encoder(x).embedding
    encoded = latents_of(model).encode(x)
    for row in range(4):
        for column in range(4):
            place = embedding[:, :, row, column]
            nearest = torch.cdist(place, book).argmin(1)
            assert torch.equal(encoded.codes[:, 4 * row + column], nearest)
            assert torch.equal(encoded.z[:, :, row, column], book[nearest])


def two_batches() -> Iterator[torch.Tensor]:
    return iter([some(40), some(30)])


def drawn(model: VQVAE, key: str, count: int) -> torch.Tensor:
    """Codes that a sampler drew, found again by looking its latents up."""
    latents = latents_of(model)
    samplers = {sampler.key: sampler for sampler in latents.samplers(two_batches)}
    assert list(samplers) == ["uniform", "marginal"]
    z = samplers[key].draw(count)
    flat = z[:, :, None] if z.ndim == 2 else z.flatten(2).transpose(1, 2)
    return torch.cdist(flat, latents._book.expand(count, -1, -1)).argmin(-1)


@pytest.mark.parametrize("flat", [False, True])
@torch.no_grad()
def test_uniform_codes_are_uniform(flat: bool) -> None:
    codes = drawn(vqvae(flat), "uniform", 4000)
    for position in codes.T:
        share = torch.bincount(position, minlength=13) / 4000
        assert (share - 1 / 13).abs().max() < 0.02


@torch.no_grad()
def test_marginal_of_a_grid_is_pooled_over_its_places() -> None:
    model = vqvae(flat=False)
    seen = torch.cat([latents_of(model).encode(x).codes for x in (some(40), some(30))])
    want = torch.bincount(seen.flatten(), minlength=13) / seen.numel()
    codes = drawn(model, "marginal", 6000)
    for position in codes.T:
        share = torch.bincount(position, minlength=13) / 6000
        assert (share - want).abs().max() < 0.025
        assert not share[want == 0].any()


@torch.no_grad()
def test_marginal_of_a_flat_code_is_each_dimensions_own() -> None:
    model = vqvae(flat=True)
    seen = torch.cat([latents_of(model).encode(x).codes for x in (some(40), some(30))])
    codes = drawn(model, "marginal", 6000)
    wants = [torch.bincount(position, minlength=13) / 70 for position in seen.T]
    for position, want in zip(codes.T, wants, strict=True):
        share = torch.bincount(position, minlength=13) / 6000
        assert (share - want).abs().max() < 0.025
    assert max((a - b).abs().max() for a in wants for b in wants) > 0.2, "they do differ"


@pytest.mark.parametrize("flat", [False, True])
@torch.no_grad()
def test_samplers_draw_the_same_in_any_portions(flat: bool) -> None:
    latents = latents_of(vqvae(flat))
    for whole, parts in zip(
        latents.samplers(two_batches), latents.samplers(two_batches), strict=True
    ):
        portions = torch.cat([parts.draw(n) for n in (1, 6, 3)])
        assert torch.equal(whole.draw(10), portions)


def test_codes_by_inverse_transform() -> None:
    cumulative = np.array([0, 2, 2, 3, 4, 4])
    u = np.array([0.0, 0.4999, 0.5, 0.75, 1 - 2**-53])
    assert draw_codes(u, cumulative).tolist() == [1, 1, 3, 4, 4]


@torch.no_grad()
def test_prior_is_standard_normal_of_the_latents_shape() -> None:
    model = VAE(VAEConfig(input_dim=SHAPE, latent_dim=5)).eval()
    (prior,) = latents_of(model).samplers(lambda: iter(()))
    assert prior.key == "prior" and prior.title == "z ~ N(0, I)"
    assert torch.equal(prior.draw(3), Noise(0, SAMPLES).draw(3, 5))
    assert prior.draw(2).shape == (2, 5)


@torch.no_grad()
def test_posterior_of_a_vae() -> None:
    model, x = VAE(VAEConfig(input_dim=SHAPE, latent_dim=5)).eval(), some()
    encoded = latents_of(model).encode(x)
    output = model.encoder(x)
    assert torch.equal(encoded.z, output.embedding) and encoded.codes is None
    draw = Noise(1, POSTERIOR).draw(9, 5)
    want = output.embedding + (0.5 * output.log_covariance).exp() * draw
    torch.testing.assert_close(encoded.posterior.sample(draw), want)


def test_a_further_kind_is_one_line(monkeypatch) -> None:
    """The nearest class of the config decides; a kind that nobody knows is refused."""

    class Other(Latents):
        pass

    class OtherConfig(VAEConfig):
        pass

    model = VAE(VAEConfig(input_dim=SHAPE, latent_dim=5))
    model.model_config = OtherConfig(input_dim=SHAPE, latent_dim=5)
    assert type(latents_of(model)) is KINDS["VAEConfig"]
    monkeypatch.setitem(KINDS, "OtherConfig", Other)
    assert type(latents_of(model)) is Other
    model.model_config = object()
    with pytest.raises(TypeError, match="object: no kind of latents"):
        latents_of(model)
