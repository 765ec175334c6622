"""VQ-VAE and VAEGAN: networks, gradients, what the history says of them, refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pythae.models import VAEGAN, VQVAE, AutoModel
from pythae.models.base.base_utils import ModelOutput
from pythae.trainers.trainer_utils import set_seed

from study.datasets import open_dataset
from study.errors import StudyError
from study.rundir import RunDirectory
from study.runs import Run, load_run, parse_run
from study.schema_training import ConvGrid
from tests import made
from tests.training import train, weights
from train.diagnostics import AdversarialBalance, CodebookUse
from train.history import read_history
from train.models import build_model
from train.models.vaegan import PARTS, VAEGANCorrected
from train.networks import build_networks
from train.pipeline import RunCoupledAdversarialTrainer
from train.run import load_trained

CONVNET = {"name": "convnet28", "width": 2}
GRID = {"name": "convnet28_grid", "width": 2, "grid_side": 4}
SHAPES = {"28": (1, 28, 28), "32": (3, 32, 32), "64": (3, 64, 64)}


def history(out: Path) -> list[dict]:
    return read_history(RunDirectory(out).history)


def vqvae_config(shape: tuple[int, int, int]):
    run = parse_run(made.run_config("VQVAE"), Path("run.json"))
    return run.with_shape(shape).model


@pytest.mark.parametrize("side", SHAPES)
@pytest.mark.parametrize("grid_side", [4, 8, 16])
def test_grid_networks_keep_the_grid(side: str, grid_side: int) -> None:
    networks = ConvGrid(name=f"convnet{side}_grid", width=2, grid_side=grid_side)
    parts = build_networks(networks, vqvae_config(SHAPES[side]), "x")
    x = torch.rand(3, *SHAPES[side])
    z = parts.encoder(x).embedding
    assert z.shape == (3, 3, grid_side, grid_side)
    x_hat = parts.decoder(z).reconstruction
    assert x_hat.shape == x.shape
    assert (x_hat > 0).all() and (x_hat < 1).all()
    x_hat.pow(2).sum().backward()
    for network in (parts.encoder, parts.decoder):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_grid_at_the_decoders_own_side_is_the_trunk_without_its_linear() -> None:
    config = vqvae_config((3, 64, 64))
    grid = build_networks(ConvGrid(name="convnet64_grid", width=2), config, "x")
    flat = build_networks(made_convnet("convnet64"), config, "x")
    assert [str(layer) for layer in grid.encoder.layers] == [
        str(layer) for layer in flat.encoder.layers[:3]
    ]
    assert [str(layer) for layer in grid.decoder.layers[1:]] == [
        str(layer) for layer in flat.decoder.layers[1:]
    ]


def made_convnet(name: str):
    return parse_run(
        made.run_config("VQVAE", networks={"name": name, "width": 2}), Path("run.json")
    ).config.networks


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize(("networks", "codes"), [(CONVNET, 3), (GRID, 16)])
def test_vqvae_trains_flat_and_grid(
    networks: dict, codes: int, ema: bool, tmp_path: Path, data: Path
) -> None:
    """What is trained moves, and AutoModel opens it; an image is `codes` indices."""
    model = made.MODELS["VQVAE"] | {"use_ema": ema}
    changes = {"networks": networks, "model": model}
    out = train(tmp_path, data, "VQVAE", **changes)
    run = load_run(made.run_file(tmp_path, "VQVAE", **changes)).with_shape((1, 28, 28))
    set_seed(run.seed)
    first = build_model(run).state_dict()
    last = weights(out)
    codebook = "quantizer.embeddings" + ("" if ema else ".weight")
    for key in (codebook, "encoder.embedding.weight", "encoder.layers.0.0.weight"):
        assert not torch.equal(first[key], last[key]), key
    loaded = AutoModel.load_from_folder(str(out / "final_model"))
    assert type(loaded) is VQVAE
    x = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        output = loaded.eval()({"data": x})
        ours = load_trained(out)[1]({"data": x})
    assert output.quantized_indices[0].numel() == codes
    assert torch.equal(output.recon_x, ours.recon_x)


def test_perplexity_and_usage_of_known_codes() -> None:
    use = CodebookUse(8)
    for codes in ([[0, 0, 1]], [[1, 2, 2]]):  # two batches, counted as one epoch
        use.add({}, {"quantized_indices": torch.tensor(codes)})
    terms = use.take()
    assert terms["perplexity"] == pytest.approx(3)
    assert terms["usage"] == 3 / 8
    assert use.take() == {}
    use.add({}, {"quantized_indices": torch.full((4, 1, 2, 2), 5)})
    assert use.take() == {"perplexity": 1.0, "usage": 1 / 8}


def test_perplexity_in_the_history_is_that_of_the_codes(tmp_path: Path, data: Path) -> None:
    """The last epoch's eval terms against codes counted here with the same weights."""
    changes = {"networks": GRID, "trainer": made.trainer(made.MODELS["VQVAE"], num_epochs=1)}
    out = train(tmp_path, data, "VQVAE", **changes)
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    with torch.no_grad():
        codes = load_trained(out)[1]({"data": x}).quantized_indices.numpy()
    _, counts = np.unique(codes, return_counts=True)
    p = counts / counts.sum()
    terms = history(out)[0]["eval"]
    assert terms["perplexity"] == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert terms["usage"] == pytest.approx(len(counts) / 8)


def gan_run(corrected: bool, networks: dict = CONVNET) -> Run:
    engine = {"vaegan_gradients": "corrected"} if corrected else {}
    config = made.run_config("VAEGAN", networks=networks, engine=engine)
    return parse_run(config, Path("run.json")).with_shape((1, 28, 28))


def written_losses(model: VAEGAN, x: torch.Tensor, noise_seed: int) -> dict[str, torch.Tensor]:
    """R, D and KL as Larsen et al. write them, worked out here from the networks alone."""
    torch.manual_seed(noise_seed)
    q = model.encoder(x)
    z = q.embedding + (0.5 * q.log_covariance).exp() * torch.randn_like(q.embedding)
    x_hat = model.decoder(z).reconstruction
    fake = model.decoder(torch.randn_like(z)).reconstruction
    features = [
        model.discriminator(i, output_layer_levels=[1])["embedding_layer_1"] for i in (x, x_hat)
    ]
    kl = 0.5 * (q.embedding**2 + q.log_covariance.exp() - 1 - q.log_covariance).sum(1).mean()
    real, sampled = (model.discriminator(i).embedding.flatten() for i in (x, fake))
    return {
        "KL": kl,
        "R": 0.5 * (features[0] - features[1]).pow(2).flatten(1).sum(1).mean(),
        "D": -real.log().mean() - (1 - sampled).log().mean(),
    }


def gradients_of(loss: torch.Tensor, network: torch.nn.Module) -> list[torch.Tensor]:
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)


def step_gradients(model: VAEGAN, x: torch.Tensor, noise_seed: int) -> dict[str, list]:
    """`.grad` of each part after one step of our trainer, learning rates 0."""
    trainer = RunCoupledAdversarialTrainer.__new__(RunCoupledAdversarialTrainer)
    trainer.model = model
    for part in PARTS:
        optimizer = torch.optim.SGD(getattr(model, part).parameters(), lr=0.0)
        setattr(trainer, f"{part}_optimizer", optimizer)
    torch.manual_seed(noise_seed)
    trainer._optimizers_step(model({"data": x}))
    return {part: [p.grad.clone() for p in getattr(model, part).parameters()] for part in PARTS}


@pytest.fixture
def doubles():
    """Pythae's labels are of the default type, so that models in float64 need it to be that."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def built(corrected: bool) -> tuple[VAEGAN, torch.Tensor]:
    set_seed(1)
    # Fully connected: no batch statistics, so that a second forward pass is the same function.
    return build_model(gan_run(corrected, made.MLP)), torch.rand(6, 1, 28, 28)


def assert_same(got: list[torch.Tensor], want: list[torch.Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("doubles")
def test_corrected_gradients_are_those_of_the_written_losses() -> None:
    model, x = built(corrected=True)
    assert type(model) is VAEGANCorrected
    got = step_gradients(model, x, 7)
    terms = written_losses(model, x, 7)
    assert_same(got["encoder"], gradients_of(terms["KL"] + terms["R"], model.encoder))
    written = 0.2 * terms["R"] - 0.8 * terms["D"]
    assert_same(got["decoder"], gradients_of(written, model.decoder))
    assert_same(got["discriminator"], gradients_of(terms["D"], model.discriminator))


@pytest.mark.usefixtures("doubles")
def test_upstreams_gradients_add_up() -> None:
    """What the default does, and why there is a corrected one."""
    model, x = built(corrected=False)
    assert type(model) is VAEGAN
    got = step_gradients(model, x, 7)
    terms = written_losses(model, x, 7)
    added = terms["KL"] + 1.2 * terms["R"]
    assert_same(got["encoder"], gradients_of(added, model.encoder))
    assert_same(got["decoder"], gradients_of(0.2 * (terms["R"] + terms["D"]), model.decoder))
    assert_same(got["discriminator"], gradients_of(terms["D"], model.discriminator))


def test_corrected_leaves_parts_alone_that_are_not_updated() -> None:
    model, x = built(corrected=True)
    output = model({"data": x})
    output["update_decoder"] = False
    model.set_gradients(output)
    assert all(p.grad is None for p in model.decoder.parameters())
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert model.updated(output) == ["encoder", "discriminator"]


def test_corrected_trains_and_is_saved_as_a_plain_vaegan(tmp_path: Path, data: Path) -> None:
    engine = {"vaegan_gradients": "corrected"}
    ours = train(tmp_path, data, "VAEGAN", "ours", networks=CONVNET, engine=engine)
    theirs = train(tmp_path, data, "VAEGAN", "theirs", networks=CONVNET)
    key = "decoder.layers.1.0.weight"
    assert not torch.equal(weights(ours)[key], weights(theirs)[key])
    loaded = AutoModel.load_from_folder(str(ours / "final_model"))
    assert type(loaded) is VAEGAN
    assert all(torch.equal(v, weights(ours)[k]) for k, v in loaded.state_dict().items())
    assert not any(part._forward_hooks for part in loaded.modules()), "the history's hooks"


def test_history_of_a_vaegan_says_what_its_discriminator_thinks() -> None:
    """D(real), D(fake), pixel MSE and update shares of two batches of unequal size."""
    scores: list[torch.Tensor] = []
    balance = AdversarialBalance(scores, training=True)
    for size, real, fake, update in ((3, 0.9, 0.2, True), (1, 0.5, 0.6, False)):
        # The batch asks for features first; scores of another reconstruction_layer come with them.
        scores += [torch.full((size,), value) for value in (0.0, 0.0, real, fake)]
        output = ModelOutput(
            recon_x=torch.full((size, 1, 2, 2), 0.5),
            update_encoder=True,
            update_decoder=update,
            update_discriminator=not update,
        )
        balance.add({"data": torch.zeros(size, 1, 2, 2)}, output)
    assert balance.take() == pytest.approx(
        {
            "d_real": (3 * 0.9 + 0.5) / 4,
            "d_fake": (3 * 0.2 + 0.6) / 4,
            "pixel_mse": 0.25,
            "updates_encoder": 1.0,
            "updates_decoder": 0.5,
            "updates_discriminator": 0.5,
        }
    )
    assert balance.take() == {} and scores == []


def test_scores_in_the_history_are_the_models(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, "VAEGAN", trainer=made.trainer(made.MODELS["VAEGAN"], num_epochs=1))
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    with torch.no_grad():
        score = load_trained(out)[1].discriminator(x).embedding
    line = history(out)[0]
    assert line["eval"]["d_real"] == pytest.approx(float(score.mean()), rel=1e-5)
    assert 0 < line["eval"]["d_fake"] < 1
    assert line["train"]["updates_encoder"] == 1.0


NO_LAYER = {k: v for k, v in made.MODELS["VAEGAN"].items() if k != "reconstruction_layer"}
BAD = {
    "default layer": (
        "VAEGAN",
        {"model": NO_LAYER},
        "model.reconstruction_layer: Pythae's default",
    ),
    "layer of the score": (
        "VAEGAN",
        {"model": made.MODELS["VAEGAN"] | {"reconstruction_layer": 5}, "networks": CONVNET},
        "model.reconstruction_layer: 5, but convnet28's discriminator has 5 layers",
    ),
    "no discriminator": (
        "VAEGAN",
        {"networks": GRID},
        "convnet28_grid makes a grid of latent vectors, which only a VQVAEConfig takes",
    ),
    "trainer": (
        "VAEGAN",
        {"trainer": made.trainer(made.MODELS["VAE"])},
        "trainer.name: a VAEGANConfig is trained with CoupledOptimizerAdversarialTrainerConfig",
    ),
    "trainer of another": (
        "VAE",
        {"trainer": made.trainer(made.MODELS["VAEGAN"])},
        "trainer.name: a VAEConfig is trained with BaseTrainerConfig",
    ),
    "rate that is not read": (
        "VAEGAN",
        {"trainer": made.trainer(made.MODELS["VAEGAN"], learning_rate=0.1)},
        "trainer.learning_rate: CoupledOptimizerAdversarialTrainerConfig does not read it; it has "
        "encoder_learning_rate, decoder_learning_rate, discriminator_learning_rate",
    ),
    "corrected VAE": (
        "VAE",
        {"engine": {"vaegan_gradients": "corrected"}},
        "engine.vaegan_gradients: only a VAEGANConfig has them",
    ),
    "noisy codes": (
        "VQVAE",
        {"engine": {"latent_noise": 0.1}},
        "engine.latent_noise: a VQVAEConfig has no place for it",
    ),
    "no codes": (
        "VQVAE",
        {"model": made.MODELS["VQVAE"] | {"num_embeddings": 0}},
        "model.num_embeddings: at least 1 is wanted",
    ),
    "grid side": (
        "VQVAE",
        {"networks": GRID | {"grid_side": 5}},
        "networks.grid_side: Input should be 4, 8 or 16, not 5",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configs_are_one_line(case: str) -> None:
    kind, changes, message = BAD[case]
    with pytest.raises(StudyError) as caught:
        build_model(
            parse_run(made.run_config(kind, **changes), Path("run.json")).with_shape((1, 28, 28))
        )
    assert message in str(caught.value)
    assert str(caught.value).startswith("run.json: ") and "\n" not in str(caught.value)


def test_pythaes_saved_trainer_config_can_be_pasted() -> None:
    """It holds the single optimizer's keys with their defaults, which are no wish."""
    from pythae.trainers import CoupledOptimizerAdversarialTrainerConfig

    pasted = json.loads(CoupledOptimizerAdversarialTrainerConfig(num_epochs=3).to_json_string())
    run = parse_run(made.run_config("VAEGAN", trainer=pasted), Path("run.json"))
    assert run.trainer.num_epochs == 3
    assert "learning_rate" not in run.resolved()["trainer"]
