"""Precision, memory format, compiling: what the networks give stays what Pythae expects."""

import copy
import functools
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pythae.data.datasets import DatasetOutput
from pythae.models.base.base_utils import ModelOutput

from study.errors import RunFailed, StudyError
from study.runs import parse_run
from study.schema_training import Engine
from tests import made, made_pythae
from train.execution import prepare_networks, settings
from train.models import build_model

CPU = torch.device("cpu")
TRACES = pytest.mark.skipif(
    torch.__version__ < "2.7", reason="torch.compile of 2.6 takes no ModelOutput: nothing compiles"
)
CONVNET = {"name": "convnet28", "width": 2}
# Of each kind of trainer, and of each way to call the networks: draws beside the batch, pseudo-
# inputs through the encoder, gradients of the decoder, layers of the discriminator, parts of x.
KINDS = [
    *("AE", "VAE", "VQVAE", "VAEGAN", "Adversarial_AE", "FactorVAE", "RAE_L2", "PIWAE"),
    *("HVAE", "VAMP", "PoincareVAE", "MSSSIM_VAE", "VAE_IAF"),
]


def engine(**keys: object) -> Engine:
    return Engine.model_validate(keys)


def model(kind: str, networks: dict = CONVNET) -> Any:
    run = parse_run(made_pythae.run_config(kind, networks=networks), Path("run.json"))
    torch.manual_seed(0)
    return build_model(run.with_shape((1, 28, 28)))


def inputs(count: int = 8) -> DatasetOutput:
    return DatasetOutput(data=torch.from_numpy(made.images(count, (1, 28, 28))).float() / 255)


# What trainers of several optimizers go backward from, through one graph.
SEVERAL = ("autoencoder_loss", "encoder_loss", "decoder_loss", "discriminator_loss")


def step(model: Any, x: DatasetOutput) -> tuple[ModelOutput, ModelOutput]:
    """One pass forward and backward, as Pythae's trainers do them; then one in eval mode."""
    torch.manual_seed(1)
    output = model.train()(x, epoch=1, dataset_size=100, uses_ddp=False)
    losses = [output[key] for key in SEVERAL if key in output] or [output.loss]
    for loss in losses:
        loss.backward(retain_graph=True)
    derived = model.model_name in ("HVAE", "RHVAE", "RAE_GP")
    with torch.set_grad_enabled(derived):
        return output, model.eval()(x, epoch=1, dataset_size=100, uses_ddp=False)


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile traces and splits graphs as ever, and hands them to no C++ compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


def same_but_for_rounding(kind: str, keys: Engine, tolerance: float, networks: dict) -> None:
    plain, prepared = model(kind, networks), model(kind, networks)
    with settings(keys, CPU):
        prepare_networks(prepared, keys, CPU)
        assert list(prepared.state_dict()) == list(plain.state_dict())
        wanted, got = step(plain, inputs()), step(prepared, inputs())
    for want, given in zip(wanted, got, strict=True):
        assert type(given) is ModelOutput and list(given) == list(want)
        assert given.loss.item() == pytest.approx(want.loss.item(), rel=tolerance)
        assert {
            v.dtype for v in given.values() if torch.is_tensor(v) and v.is_floating_point()
        } == {torch.float32}
    ours, theirs = gradients(prepared), gradients(plain)
    cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=0)
    assert cosine > 1 - 20 * tolerance
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_and_bf16_only_round(kind: str) -> None:
    same_but_for_rounding(kind, engine(channels_last=True), 1e-5, CONVNET)
    both = engine(precision="bf16", channels_last=True)
    same_but_for_rounding(kind, both, 5e-3, CONVNET)


GRID = {"name": "convnet28_grid", "width": 2, "grid_side": 4}


@pytest.mark.parametrize(
    ("kind", "networks"), [("VQVAE", GRID), ("VAEGAN", made.MLP), ("VAE", made.MLP)]
)
def test_other_networks_only_round(kind: str, networks: dict) -> None:
    same_but_for_rounding(kind, engine(channels_last=True), 1e-5, networks)
    same_but_for_rounding(kind, engine(precision="bf16", channels_last=True), 5e-3, networks)


def test_compiled_networks_only_round(traced: None) -> None:
    """VAEGAN's: layers of the discriminator by keyword, three passes backward."""
    same_but_for_rounding("VAEGAN", engine(compile=True), 1e-5, CONVNET)


def test_bf16_is_bf16_within_and_a_sigmoid_is_not() -> None:
    ae = model("AE")
    prepare_networks(ae, engine(precision="bf16"), CPU)
    seen: dict[str, torch.dtype] = {}
    for layer in ae.decoder.modules():
        layer.register_forward_hook(lambda m, x, y: seen.update({type(m).__name__: y}) or None)
    with torch.no_grad():
        ae.decoder.layers[-1][0].weight.zero_()
        ae.decoder.layers[-1][0].bias.fill_(8.0)
        out = ae.decoder(torch.zeros(2, 3))
    assert seen["ConvTranspose2d"].dtype == torch.bfloat16
    assert seen["Sigmoid"].dtype == out.reconstruction.dtype == torch.float32
    # The bfloat16 nearest to 1 / (1 + exp(-8)) is 1.
    assert out.reconstruction.min() > 0.999 and out.reconstruction.max() < 1


def test_channels_last_reaches_weights_and_inputs() -> None:
    vae = model("VAE", {"name": "convnet28", "width": 2})
    prepare_networks(vae, engine(channels_last=True), CPU)
    seen = []
    vae.encoder.layers[1][0].register_forward_hook(lambda m, x, y: seen.append((x[0], y)))
    vae.encoder(inputs().data)
    for tensor in (vae.encoder.layers[1][0].weight, *seen[0]):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()


def test_hooks_on_a_network_fire_and_a_deep_copy_has_its_own_weights(traced: None) -> None:
    ae, heard = model("AE"), []
    keys = engine(compile=True, precision="bf16")
    with settings(keys, CPU):
        prepare_networks(ae, keys, CPU)
        ae.encoder.register_forward_hook(lambda m, x, y: heard.append(y.embedding))
        x = inputs().data
        first = ae.eval().encoder(x).embedding
        assert heard[0] is first
        other = copy.deepcopy(ae)
        with torch.no_grad():
            other.encoder.embedding.bias += 1
        assert torch.allclose(other.encoder(x).embedding, first + 1, atol=0.05)
        assert torch.equal(ae.encoder(x).embedding, first)


def states() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]


@TRACES
def test_trying_out_leaves_no_trace(traced: None) -> None:
    """The first call of each kind, a last short batch among them, runs the networks on zeros."""
    plain, compiled = model("VAE"), model("VAE")
    keys, found = engine(compile=True), []
    with settings(keys, CPU):
        for vae in (plain, compiled):
            if vae is compiled:
                prepare_networks(vae, keys, CPU)
            torch.manual_seed(3)
            for count in (8, 8, 5):
                vae.train()(inputs(count)).loss.backward()
            found.append(states())
    assert found[0] == found[1]
    assert len(compiled.encoder.forward.compiled) == 2
    assert torch.allclose(gradients(plain), gradients(compiled), rtol=1e-4, atol=1e-4)
    for key, value in plain.state_dict().items():
        assert torch.allclose(value, compiled.state_dict()[key], atol=1e-6), key


def test_without_a_compiler_training_goes_on_uncompiled_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, vae, keys = model("VAEGAN"), model("VAEGAN"), engine(compile=True)
    nowhere = (str(tmp_path / "no-compiler"),)
    with settings(keys, CPU), config.patch({"cpp.cxx": nowhere}):
        prepare_networks(vae, keys, CPU)
        got = step(vae, inputs())
    want = step(plain, inputs())
    for ours, theirs in zip(got, want, strict=True):
        assert torch.equal(ours.recon_x, theirs.recon_x)
    assert torch.equal(gradients(vae), gradients(plain))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "the networks run uncompiled, since it fails" in said[0]


def test_a_backward_pass_that_cannot_be_compiled_is_found_out_before_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def refuse(graph: Any, example: Any) -> Any:
        raise RuntimeError("no backward\nand much more")

    backend = aot_autograd(fw_compiler=lambda g, e: make_boxed_func(g.forward), bw_compiler=refuse)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    plain, vae = model("VAE"), model("VAE")
    prepare_networks(vae, engine(compile=True), CPU)
    want, got = step(plain, inputs()), step(vae, inputs())
    assert torch.equal(got[0].recon_x, want[0].recon_x)
    assert torch.equal(gradients(vae), gradients(plain))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "RuntimeError: no backward" in said[0]


@TRACES
def test_compiles_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the machine's own compiler, where there is one: the smallest network."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    ae, plain, keys = model("AE", made.MLP), model("AE", made.MLP), engine(compile=True)
    with settings(keys, CPU):
        prepare_networks(ae, keys, CPU)
        for network in (ae.encoder, plain.encoder):
            network(inputs().data).embedding.square().sum().backward()
    assert not ae.encoder.forward.compiler.said
    assert torch.allclose(gradients(ae), gradients(plain), rtol=1e-3, atol=1e-4)


def switches() -> list[Any]:
    backends = torch.backends
    return [
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("keys", "device", "wanted"),
    [
        ({}, "cuda", [False, False, False, True, False, None]),
        ({"precision": "tf32"}, "cuda", [True, True, False, True, False, None]),
        ({"precision": "bf16"}, "cuda", [False, False, False, True, False, None]),
        ({"deterministic": True}, "cuda", [False, False, True, False, True, ":4096:8"]),
        ({"precision": "tf32"}, "cpu", [False, True, False, False, False, None]),
        ({"deterministic": True}, "cpu", [False, True, False, False, True, None]),
    ],
)
def test_switches_are_set_and_put_back(
    keys: dict, device: str, wanted: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = switches()
    assert before[:4] == [False, True, False, False]  # torch's own
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), settings(engine(**keys), torch.device(device)):
            assert switches() == wanted
            raise ZeroDivisionError
        assert switches() == before


def test_what_was_set_before_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with settings(engine(deterministic=True), torch.device("cuda")):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    finally:
        torch.use_deterministic_algorithms(False)


def test_operation_without_a_deterministic_form_is_one_line() -> None:
    with (
        pytest.raises(RunFailed, match=r"^engine.deterministic: .*; false lets it run$") as caught,
        settings(engine(deterministic=True), CPU),
    ):
        torch.ones(4).put_(torch.tensor([0, 0]), torch.ones(2))
    message = str(caught.value)
    assert "put_" in message and "\n" not in message and len(message) < 200


@pytest.mark.parametrize(
    ("kind", "keys", "trainer", "message"),
    [
        ("VAE", {"precision": "bf16"}, {"amp": True}, "trainer.amp: .*leave one of the two out"),
        ("RAE_GP", {"compile": True}, {}, "engine.compile: a RAE_GP_Config derives"),
        ("RHVAE", {"compile": True}, {}, "engine.compile: a RHVAEConfig derives"),
        ("VAE", {"compile": True, "deterministic": True}, {}, "engine.compile: .*timing"),
    ],
)
def test_what_cannot_go_together(kind: str, keys: dict, trainer: dict, message: str) -> None:
    config = made_pythae.run_config(kind, engine=keys)
    config["trainer"] |= trainer
    with pytest.raises(StudyError, match=message):
        parse_run(config, Path("run.json"))
