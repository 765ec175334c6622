"""Our networks against Pythae's benchmark convnets, layer by layer."""

import importlib

import pytest
import torch
from pythae.models import AEConfig, VAEConfig

from study.errors import StudyError
from study.runs import parse_run
from study.schema_training import ConvNet, Mlp
from tests import made
from train.models import build_model
from train.networks import build_networks

CASES = {
    "convnet28": ("mnist", "MNIST", (1, 28, 28)),
    "convnet32": ("cifar", "CIFAR", (3, 32, 32)),
    "convnet64": ("celeba", "CELEBA", (3, 64, 64)),
}


def upstream(name: str, part: str) -> type:
    module, suffix, _ = CASES[name]
    networks = importlib.import_module(f"pythae.models.nn.benchmarks.{module}")
    return getattr(networks, f"{part}_Conv_{'VAE' if part == 'Encoder' else 'AE'}_{suffix}")


def same_outputs(ours, theirs, inputs: torch.Tensor, what: str) -> None:
    ours.load_state_dict(theirs.state_dict())  # same names, same shapes
    levels = list(range(1, theirs.depth + 1))
    with torch.no_grad():
        for mode in (True, False):
            got = ours.train(mode)(inputs, output_layer_levels=levels)
            want = theirs.train(mode)(inputs, output_layer_levels=levels)
            assert got.keys() == want.keys()
            assert sum(key.startswith(what) for key in got) >= len(levels)
            for key in want:
                assert torch.equal(got[key], want[key]), key


@pytest.mark.parametrize("name", CASES)
def test_width_128_is_pythaes_layer_by_layer(name: str) -> None:
    shape = CASES[name][2]
    config = VAEConfig(input_dim=shape, latent_dim=5)
    parts = build_networks(ConvNet(name=name), config, "x")
    encoder, decoder = parts.encoder, parts.decoder
    same_outputs(encoder, upstream(name, "Encoder")(config), torch.rand(2, *shape), "embedding")
    same_outputs(decoder, upstream(name, "Decoder")(config), torch.randn(2, 5), "reconstruction")


@pytest.mark.parametrize("name", CASES)
def test_seeded_weights_are_pythaes_too(name: str) -> None:
    """The same draws in the same order: a run here starts where one of Pythae's would."""
    config = VAEConfig(input_dim=CASES[name][2], latent_dim=5)
    torch.manual_seed(1)
    parts = build_networks(ConvNet(name=name), config, "x")
    encoder, decoder = parts.encoder, parts.decoder
    torch.manual_seed(1)
    theirs = upstream(name, "Encoder")(config), upstream(name, "Decoder")(config)
    for ours, other in zip((encoder, decoder), theirs, strict=True):
        for key, value in other.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [1, 4])
def test_width_scales_every_layer_and_gradients_reach_them_all(name: str, width: int) -> None:
    shape = CASES[name][2]
    config = VAEConfig(input_dim=shape, latent_dim=3)
    parts = build_networks(ConvNet(name=name, width=width), config, "x")
    encoder, decoder = parts.encoder, parts.decoder
    q = encoder(torch.rand(4, *shape))
    x_hat = decoder(q.embedding + q.log_covariance).reconstruction
    assert x_hat.shape == (4, *shape)
    assert (x_hat > 0).all() and (x_hat < 1).all()
    x_hat.pow(2).sum().backward()
    for network in (encoder, decoder):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key
    assert encoder.layers[0][0].out_channels == width


def test_autoencoders_have_no_log_variance() -> None:
    config = AEConfig(input_dim=(1, 28, 28), latent_dim=3)
    for networks in (ConvNet(name="convnet28", width=2), Mlp(**made.MLP)):
        encoder = build_networks(networks, config, "x").encoder
        assert list(encoder(torch.rand(2, 1, 28, 28))) == ["embedding"]


def test_mlp_is_the_layers_it_lists() -> None:
    config = VAEConfig(input_dim=(3, 8, 8), latent_dim=5)
    networks = Mlp(name="mlp", encoder=[20, 10], decoder=[7], dropout=0.25)
    parts = build_networks(networks, config, "x")
    encoder, decoder = parts.encoder, parts.decoder
    shapes = [tuple(p.shape) for p in encoder.parameters() if p.ndim == 2]
    assert shapes == [(20, 192), (10, 20), (5, 10), (5, 10)]
    assert [tuple(p.shape) for p in decoder.parameters() if p.ndim == 2] == [(7, 5), (192, 7)]
    assert [m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)] == [0.25, 0.25]
    assert decoder(torch.randn(4, 5)).reconstruction.shape == (4, 3, 8, 8)
    x = torch.rand(2, 3, 8, 8)
    encoder.eval()
    hidden = x.flatten(1)
    for layer in encoder.layers:
        hidden = torch.relu(hidden @ layer[0].weight.T + layer[0].bias)
    want = hidden @ encoder.embedding.weight.T + encoder.embedding.bias
    assert torch.allclose(encoder(x).embedding, want)


def test_networks_that_do_not_fit_the_images(tmp_path) -> None:
    config = made.run_config(networks={"name": "convnet64", "width": 2})
    run = parse_run(config, tmp_path / "run.json").with_shape((1, 28, 28))
    with pytest.raises(StudyError, match="convnet64 takes 64x64 images, the data set's are 28x28"):
        build_model(run)


def test_input_dim_that_is_not_the_datas(tmp_path) -> None:
    config = made.run_config(model=made.MODELS["VAE"] | {"input_dim": [1, 32, 32]})
    run = parse_run(config, tmp_path / "run.json")
    with pytest.raises(StudyError, match=r"model.input_dim is \[1, 32, 32\], the images"):
        run.with_shape((1, 28, 28))
