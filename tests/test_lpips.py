"""LPIPS on trunks of random weights: the package's arithmetic, and files that are not there.

The real trunks are too large to ship. A random one is saved as torchvision saves its own, under a
name that carries its true hash, so that every check acts on it as on the real file.
"""

import dataclasses
import hashlib
import sys
import warnings
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch

from evaluate.__main__ import main
from evaluate.available import check_required
from evaluate.metrics import lpips as metric
from evaluate.metrics.lpips import TRUNKS, WeightsError, find_weights, load_lpips, lpips_distance
from evaluate.metrics.weights import hub_folder
from evaluate.perceptual import lacking
from evaluate.run import evaluate_run, up_to_date
from study.datasets import open_dataset
from study.errors import StudyError, run_command
from study.progress import say_once
from study.rundir import RunDirectory
from study.runs import load_run
from study.schema import Evaluation
from tests import made
from tests.training import train
from train.dataset import to_unit
from train.models import build_model
from train.run import load_trained
from train.selection import Selection, check_selection


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_trunk(backbone: str, folder: Path) -> tuple[torch.nn.Module, metric.Trunk]:
    """The package's own network with random weights; its trunk's file and the entry naming it."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = lpips.LPIPS(net=backbone, version="0.1", pnet_rand=True, verbose=False)
    state = {f"features.{k.split('.', 1)[1]}": v for k, v in net.net.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / "trunk.pth"
    # The official files are of torch's older format.
    torch.save(state, plain, _use_new_zipfile_serialization=False)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
    trunk = dataclasses.replace(TRUNKS[backbone], file=f"{backbone}-{digest}.pth")
    plain.rename(folder / trunk.file)
    return net, trunk


@pytest.fixture(scope="module")
def made_trunks(tmp_path_factory) -> tuple[Path, dict]:
    """A TORCH_HOME with random trunks; backbone -> reference network and file's entry."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "hub" / "checkpoints"
    return home, {backbone: random_trunk(backbone, folder) for backbone in TRUNKS}


@pytest.fixture
def trunks(made_trunks, monkeypatch) -> dict[str, torch.nn.Module]:
    """The random trunks in torch's cache; the reference networks by backbone."""
    home, entries = made_trunks
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.delenv("HUB_DIR", raising=False)
    for backbone, (_, trunk) in entries.items():
        monkeypatch.setitem(TRUNKS, backbone, trunk)
    return {backbone: net for backbone, (net, _) in entries.items()}


@pytest.fixture
def nothing(tmp_path, monkeypatch) -> Path:
    """A TORCH_HOME that is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    say_once.cache_clear()
    return tmp_path / "empty"


@pytest.mark.parametrize(
    ("backbone", "side"), [("alex", 31), ("alex", 64), ("vgg", 16), ("vgg", 33)]
)
@torch.inference_mode()
def test_equals_the_package(backbone: str, side: int, trunks) -> None:
    x, x_hat = images(3, 3, side, side), images(3, 3, side, side, seed=1)
    net = load_lpips(backbone, find_weights(backbone))
    got = lpips_distance(net, x, x_hat)
    assert got.shape == (3,) and got.min() > 1e-4
    want = trunks[backbone](2 * x - 1, 2 * x_hat - 1).flatten()
    assert torch.equal(got, want)
    unscaled = lpips_distance(net, x, x_hat, rescale=False)
    assert torch.equal(unscaled, trunks[backbone](x, x_hat).flatten())
    assert not torch.allclose(unscaled, got, rtol=1e-3)


@torch.inference_mode()
def test_formula_of_the_paper(trunks) -> None:
    """Zhang et al. 2018, eq. 1, written out: unit features, weighted squared difference."""
    x, x_hat = images(1, 3, 40, 40), images(1, 3, 40, 40, seed=1)
    folder = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(folder, map_location="cpu", weights_only=True)
    net = load_lpips("alex", find_weights("alex"))
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

    def features(image: torch.Tensor) -> list[np.ndarray]:
        maps = net.net((2 * image - 1 - shift) / scale)
        return [(m / m.pow(2).sum(1, keepdim=True).sqrt())[0].double().numpy() for m in maps]

    want = 0.0
    for layer, (a, b) in enumerate(zip(features(x), features(x_hat), strict=True)):
        weight = heads[f"lin{layer}.model.1.weight"].double().numpy().reshape(-1)
        want += np.einsum("c,chw->hw", weight, (a - b) ** 2).mean()
    assert lpips_distance(net, x, x_hat).item() == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
@torch.inference_mode()
def test_grey_identical_and_any_batch_size(backbone: str, trunks) -> None:
    net = load_lpips(backbone, find_weights(backbone))
    grey, other = images(5, 1, 32, 32), images(5, 1, 32, 32, seed=1)
    together = lpips_distance(net, grey, other)
    colour = lpips_distance(net, grey.repeat(1, 3, 1, 1), other.repeat(1, 3, 1, 1))
    assert torch.equal(together, colour)
    assert lpips_distance(net, grey, grey).tolist() == [0.0] * 5
    alone = [lpips_distance(net, grey[i : i + 1], other[i : i + 1]).item() for i in range(5)]
    assert together.tolist() == pytest.approx(alone, rel=1e-4)


def test_loading_draws_no_random_number(trunks) -> None:
    load_lpips.cache_clear()
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    net = load_lpips("vgg", find_weights("vgg"))
    assert torch.equal(torch.rand(3), want)
    assert not any(t.is_meta or t.requires_grad for t in net.state_dict(keep_vars=True).values())


def test_names_are_torchvisions_and_carry_the_digest() -> None:
    from torchvision.models import AlexNet_Weights, VGG16_Weights

    for backbone, weights in (("vgg", VGG16_Weights), ("alex", AlexNet_Weights)):
        assert weights.IMAGENET1K_V1.url == metric.ORIGIN + TRUNKS[backbone].file
    assert (TRUNKS["vgg"].digest, TRUNKS["alex"].digest) == ("397923af", "7be5be79")


@pytest.mark.parametrize("damage", ["cut", "other", "code", "foreign"])
def test_a_wrong_file_is_named(damage: str, trunks, tmp_path, monkeypatch) -> None:
    path = tmp_path / TRUNKS["alex"].file
    whole = find_weights("alex").read_bytes()
    if damage in ("cut", "other"):
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"<html>")
        message = "its SHA-256 begins with .* cut short or is another file; .* fetches it again"
    else:
        # The hash fits, the content does not: a pickle that runs code, another network.
        content = {"features.0.weight": Path("x") if damage == "code" else torch.zeros(1)}
        torch.save(content, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        path = path.rename(tmp_path / f"alex-{digest}.pth")
        monkeypatch.setitem(TRUNKS, "alex", dataclasses.replace(TRUNKS["alex"], file=path.name))
        message = "holds no AlexNet trunk"
    with pytest.raises(WeightsError, match=message) as caught:
        load_lpips("alex", path)
    assert str(path) in str(caught.value)
    with pytest.raises(StudyError, match=message):
        check_required([], Evaluation(lpips=["alex"]), tmp_path)


def test_the_folder_given_goes_before_the_cache(trunks, tmp_path) -> None:
    in_cache = find_weights("alex", tmp_path)
    assert in_cache.parent == hub_folder()
    (tmp_path / in_cache.name).write_bytes(in_cache.read_bytes())
    assert find_weights("alex", tmp_path) == tmp_path / in_cache.name


def test_what_is_asked_for_and_lacking(nothing, data) -> None:
    both = Evaluation(lpips=["alex", "vgg", "as_published"])
    why = lacking(both, None, (1, 64, 64))
    assert why == {
        "LPIPS": "alexnet-owt-7be5be79.pth was not found",
        "LPIPS (VGG)": "vgg16-397923af.pth was not found",
        "LPIPS (as published)": "vgg16-397923af.pth was not found",
    }
    assert lacking(Evaluation(lpips=[]), None) == {}
    with pytest.raises(StudyError, match="AlexNet takes images of at least 31 .* are 28x28"):
        check_required(["lpips"], both, None, open_dataset(data, "tiny"))
    assert lacking(Evaluation(lpips=["vgg"]), None, (1, 15, 40))["LPIPS"].startswith("VGG takes")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lpisp", "--require lpisp: not one of .*did you mean 'lpips'"),
        (
            "lpips",
            r"--require lpips: .*vgg16-397923af.pth was not found; 'python -m evaluate prefetch' "
            r"on .* fetches it, or put it into .*--weights",
        ),
        ("LPIPS (AlexNet)", "evaluation.lpips does not ask for it"),
    ],
)
def test_required_and_not_to_be_had(word: str, message: str, nothing) -> None:
    check_required(["mse", "KL"], Evaluation(), None)
    with pytest.raises(StudyError, match=message):
        check_required([word], Evaluation(), None)


def lpips_run(tmp_path: Path, data: Path, asked: str | list[str], kind: str = "VAE") -> Path:
    return train(tmp_path, data, kind, evaluation=made.EVALUATION | {"lpips": asked})


def test_run_without_weights_says_so_once(nothing, tmp_path, data, capsys) -> None:
    out = lpips_run(tmp_path, data, "vgg")
    entry = evaluate_run(out, data)
    assert entry["missing"] == {"LPIPS": "vgg16-397923af.pth was not found"}
    assert "LPIPS" not in entry["metrics"] and "MSE" in entry["metrics"]
    assert "LPIPS" in entry["generations"]["prior"]["missing"]
    evaluate_run(out, data)
    said = capsys.readouterr().err
    assert said.count("vgg16-397923af.pth") == 2 and said.count("\n") == 1, "once, with its URL"
    assert str(nothing) in said
    (out / "metrics.json").unlink()
    with pytest.raises(StudyError, match="--require lpips"):
        evaluate_run(out, data, required=["lpips"])
    assert not (out / "metrics.json").exists()


def test_weights_that_come_later_are_used(trunks, made_trunks, tmp_path, data, monkeypatch) -> None:
    out = lpips_run(tmp_path, data, "vgg")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    evaluate_run(out, data)
    directory, tiny = RunDirectory(out), open_dataset(data, "tiny")
    assert up_to_date(directory, "eval", tiny)
    folder = made_trunks[0] / "hub" / "checkpoints"
    assert not up_to_date(directory, "eval", tiny, folder)
    entry = evaluate_run(out, data, weights=folder)
    assert entry["metrics"]["LPIPS"]["title"] == "LPIPS (VGG)" and not entry["missing"]
    assert up_to_date(directory, "eval", tiny) and up_to_date(directory, "eval", tiny, folder)


def test_run_is_measured_on_the_means_and_as_published_on_a_draw(trunks, tmp_path, data) -> None:
    from study.datasets import open_dataset
    from train.latents.base import POSTERIOR, Noise
    from train.run import load_trained

    out = lpips_run(tmp_path, data, ["vgg", "as_published"])
    entry = evaluate_run(out, data)
    run, model = load_trained(out)
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    q = model.encoder(x)
    normal = Noise(run.seed, POSTERIOR).draw(25, 1, 3)[:, 0]
    z = q.embedding + (0.5 * q.log_covariance).exp() * normal
    mean, drawn = (model.decoder(at).reconstruction.detach() for at in (q.embedding, z))
    rgb, mean, drawn = (image.repeat(1, 3, 1, 1) for image in (x, mean, drawn))
    net = trunks["vgg"].requires_grad_(False)
    with np.load(out / "per_image.npz") as arrays:
        got, published = arrays["eval.LPIPS"], arrays["eval.LPIPS (as published)"]
        assert "eval.generations.prior.LPIPS" in arrays
    np.testing.assert_allclose(got, net(2 * rgb - 1, 2 * mean - 1).flatten(), rtol=1e-3)
    np.testing.assert_allclose(published, net(rgb, drawn).flatten(), rtol=1e-3)
    assert entry["metrics"]["LPIPS"]["settings"]["version"] == "0.1"


def test_command_line_requires(tmp_path, data, monkeypatch, capsys) -> None:
    out = lpips_run(tmp_path, data, "vgg")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    words = ["evaluate", str(out), "--data", str(data), "--require", "mse,lpips"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", main)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert said.startswith("evaluate: --require lpips: LPIPS (VGG) is not measured: vgg16")
    assert not (out / "metrics.json").exists()


def test_chooses_the_best_model_as_evaluation_measures(trunks, tmp_path: Path) -> None:
    made.dataset(tmp_path, counts=(20, 6))
    out = train(tmp_path, tmp_path, "VAE", evaluation=made.EVALUATION | {"lpips": ["vgg"]})
    entry = evaluate_run(out, tmp_path)
    _, model = load_trained(out)
    selection = Selection("LPIPS", model)
    images = open_dataset(tmp_path, "tiny").images("eval")
    for part in (images[:4], images[4:]):
        selection.add({"data": to_unit(part)}, {})
    want = entry["metrics"]["LPIPS"]["mean"]
    assert selection.take()["LPIPS"] == pytest.approx(want, rel=1e-6)
    assert selection.better(0.1, 0.2) and entry["metrics"]["LPIPS"]["better"] == "lower"


def test_choosing_without_weights_is_one_line(trunks, tmp_path: Path, monkeypatch) -> None:
    file = made.run_file(tmp_path, "AE", engine={"select": "LPIPS"})
    with pytest.raises(StudyError, match="run.json: engine.select: LPIPS takes .* least 16 pix"):
        check_selection(load_run(file).with_shape((1, 15, 28)))
    run = load_run(file).with_shape((1, 16, 28))
    check_selection(run)
    cache = tmp_path / "cache" / "hub" / "checkpoints"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(StudyError) as error:
        check_selection(run)
    weights = TRUNKS["vgg"].file
    want = f"engine.select: LPIPS needs {weights}, which was not found; 'python -m evaluate "
    assert str(error.value).startswith(f"{file}: {want}") and "\n" not in str(error.value)
    assert f" fetches it, or put it into {cache} (it is " in str(error.value)
    with pytest.raises(StudyError) as error:
        Selection("LPIPS", build_model(run))
    assert str(error.value).startswith(want)
    cache.mkdir(parents=True)
    (cache / weights).write_bytes(b"cut short")
    with pytest.raises(StudyError, match=r"run.json: engine.select: .*its SHA-256 begins with"):
        check_selection(run)
