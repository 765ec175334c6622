"""Evaluating a run: numbers, files, splits, batch sizes, refusals."""

import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from evaluate.__main__ import main
from evaluate.measure import Meter
from evaluate.metrics.elbo import bernoulli_log_likelihood, gaussian_log_likelihood
from evaluate.metrics.kl import kl
from evaluate.registry import GENERATION_KEYS, KEYS, ORDER, metrics_for
from evaluate.run import evaluate_run
from study.datasets import open_dataset
from study.errors import RunFailed, StudyError, run_command
from study.jsonfile import read_json_object
from study.schema import Evaluation, FiniteData, LatentSpace
from tests import made
from tests.training import train
from train.latents.base import POSTERIOR, Noise
from train.run import load_trained


@pytest.fixture(scope="module")
def vae(tmp_path_factory, data) -> Path:
    """A trained convnet VAE whose ELBO takes 3 draws."""
    networks = {"name": "convnet28", "width": 2}
    how = made.EVALUATION | {"elbo_samples": 3, "likelihood": {"name": "bernoulli"}}
    folder = tmp_path_factory.mktemp("vae")
    return train(folder, data, "VAE", networks=networks, evaluation=how)


def values(out: Path, split: str = "eval") -> dict[str, np.ndarray]:
    with np.load(out / "per_image.npz", allow_pickle=False) as arrays:
        return {key.removeprefix(f"{split}."): arrays[key] for key in arrays}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_changes_no_number(batch_size: int, vae: Path, data: Path) -> None:
    evaluate_run(vae, data, batch_size=25)
    want = values(vae)
    evaluate_run(vae, data, batch_size=batch_size)
    got = values(vae)
    own = {"MSE", "PSNR", "BCE", "KL", "ELBO", "SSIM", "GMSD"}
    own |= {f"{key} (as published)" for key in ("BCE", "ELBO", "MSE", "SSIM", "GMSD")}
    more = {"sharpness", "NN data", "NN train"}
    samples = {f"generations.prior.{key}" for key in own | more}
    assert got.keys() == want.keys() == own | samples
    for key in want:
        np.testing.assert_allclose(got[key], want[key], rtol=2e-5, atol=2e-6, err_msg=key)


def test_noise_is_the_same_in_any_portions() -> None:
    whole = Noise(3, POSTERIOR).draw(10, 2, 5)
    parts = Noise(3, POSTERIOR)
    pieces = torch.cat([parts.draw(n, 2, 5) for n in (1, 6, 3)])
    assert torch.equal(whole, pieces)


@torch.no_grad()
def test_numbers_follow_from_the_model(vae: Path, data: Path) -> None:
    """KL and ELBO worked out here from encoder and decoder, with the evaluation's own draws."""
    evaluate_run(vae, data)
    got = values(vae)
    run, model = load_trained(vae)
    x = torch.from_numpy(np.array(open_dataset(data, "tiny").images("eval"))).float() / 255
    q = model.encoder(x)
    divergence = kl(q.embedding, q.log_covariance)
    draws = Noise(run.seed, POSTERIOR).draw(25, 3, 3)
    log_likelihoods = [
        bernoulli_log_likelihood(
            x,
            model.decoder(
                q.embedding + (0.5 * q.log_covariance).exp() * draws[:, i]
            ).reconstruction,
        )
        for i in range(3)
    ]
    want = sum(log_likelihoods) / 3 - divergence
    np.testing.assert_allclose(got["KL"], divergence, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got["ELBO"], want, rtol=1e-5)
    mean_error = (model.decoder(q.embedding).reconstruction - x).pow(2).mean((1, 2, 3))
    np.testing.assert_allclose(got["MSE"], mean_error, rtol=1e-4)


def test_metrics_json_is_the_mean_of_the_images_with_its_settings(vae: Path, data: Path) -> None:
    evaluate_run(vae, data)
    entry = read_json_object(vae / "metrics.json")["splits"]["eval"]
    assert entry["images"] == 25
    assert entry["data_sha256"] == open_dataset(data, "tiny").hashes()["eval"]
    for key, metric in entry["metrics"].items():
        if key == "active units":
            assert metric["over"] == "split" and metric["sd"] is None
            continue
        assert metric["over"] == "images"
        assert metric["mean"] == pytest.approx(values(vae)[key].mean(), rel=1e-12)
    assert entry["metrics"]["ELBO"]["title"] == "ELBO (Bernoulli, 3 draws)"
    assert entry["metrics"]["ELBO"]["settings"]["samples"] == 3
    assert entry["metrics"]["SSIM"]["settings"]["kernel_sigma"] == 1.5


def test_likelihoods_have_columns_of_their_own(tmp_path: Path, data: Path) -> None:
    how = made.EVALUATION | {"likelihood": {"name": "gaussian", "sigma": 0.5}}
    entry = evaluate_run(train(tmp_path, data, "BetaVAE", evaluation=how), data)
    assert entry["metrics"]["ELBO"]["title"] == "ELBO (Gaussian, σ = 0.5)"


def test_gaussian_elbo_counts_its_constant() -> None:
    x = torch.zeros(1, 1, 2, 2)
    got = gaussian_log_likelihood(x, x + 1, 1.0).item()
    assert got == pytest.approx(-2 - 2 * np.log(2 * np.pi))


@pytest.mark.parametrize("kind", ["AE", "WAE_MMD"])
def test_autoencoders_have_neither_kl_nor_elbo(kind: str, tmp_path: Path, data: Path) -> None:
    entry = evaluate_run(train(tmp_path, data, kind), data)
    assert list(entry["metrics"]) == ["MSE", "PSNR", "BCE", "SSIM", "GMSD"]


def test_registry_lists_what_is_measured() -> None:
    known = metrics_for(Evaluation())
    shown = {*KEYS, *GENERATION_KEYS}
    assert known.keys() < shown == set(ORDER)
    assert list(known) == [k for k in ORDER if k in known]
    every = metrics_for(
        Evaluation(
            lpips=["vgg", "alex", "as_published"],
            nll_samples=5,
            features=["inception", "classifier"],
            finite=FiniteData(),
            latents=LatentSpace(),
        )
    )
    assert shown - every.keys() == {"LPIPS (VGG)"}, "the first backbone's is LPIPS"
    assert every["LPIPS"].title == "LPIPS (VGG)"
    assert every["LPIPS (AlexNet)"].settings["backbone"] == "AlexNet"
    assert known["SSIM"].heading == "SSIM ↑" and known["KL"].heading == "KL"


def test_a_second_split_leaves_the_first(tmp_path: Path, data: Path) -> None:
    """A data set with a test split: both splits stand in both files."""
    folder = tmp_path / "data" / "tiny"
    made.dataset(tmp_path / "data")
    manifest = read_json_object(folder / "manifest.json")
    (folder / "test_data.npz").write_bytes((folder / "eval_data.npz").read_bytes())
    manifest["splits"]["test"] = manifest["splits"]["eval"] | {"file": "test_data.npz"}
    import json

    (folder / "manifest.json").write_text(json.dumps(manifest))
    out = train(tmp_path, tmp_path / "data", "AE")
    evaluate_run(out, tmp_path / "data", "eval")
    evaluate_run(out, tmp_path / "data", "test")
    splits = read_json_object(out / "metrics.json")["splits"]
    assert splits["eval"]["metrics"] == splits["test"]["metrics"]
    with np.load(out / "per_image.npz") as arrays:
        assert {"eval.MSE", "test.MSE"} <= set(arrays)
        assert np.array_equal(arrays["eval.MSE"], arrays["test.MSE"])


def test_pictures_show_images(vae: Path, data: Path) -> None:
    evaluate_run(vae, data)
    with np.load(vae / "pictures.npz") as arrays:
        shown = {key.removeprefix("eval."): arrays[key] for key in arrays}
    assert shown["originals"].shape == shown["reconstructions"].shape == (4, 1, 28, 28)
    for kind in ("generations", "self_reconstructions"):
        assert shown[f"{kind}.prior"].dtype == np.uint8
        assert shown[f"{kind}.prior"].shape == (4, 1, 28, 28)
    images = open_dataset(data, "tiny").images("eval")
    assert np.array_equal(shown["originals"], images[shown["index"]])
    for name in ("reconstructions.png", "generations.png"):
        picture = matplotlib.image.imread(vae / name)
        assert picture.ndim == 3 and picture.std() > 0.1


def test_evaluating_twice_gives_the_same_files(vae: Path, data: Path) -> None:
    names = ("metrics.json", "reconstructions.png", "generations.png")

    def contents() -> dict[str, bytes]:
        evaluate_run(vae, data)
        found = {name: (vae / name).read_bytes() for name in names}
        for name in ("per_image.npz", "pictures.npz"):
            with np.load(vae / name) as arrays:
                found |= {f"{name}/{key}": arrays[key].tobytes() for key in arrays}
        return found

    assert contents() == contents()


def test_weights_of_nan_fail_with_the_image_named(tmp_path: Path, data: Path) -> None:
    out = train(tmp_path, data, "AE")
    file = out / "final_model" / "model.pt"
    state = torch.load(file, weights_only=True)
    state["model_state_dict"]["encoder.embedding.bias"] += float("nan")
    torch.save(state, file)
    with pytest.raises(RunFailed, match="eval, images 0 to 24: a reconstruction is not finite"):
        evaluate_run(out, data)
    assert not (out / "metrics.json").exists()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_only_lack_of_memory_asks_for_a_smaller_batch(
    error: Exception, remedy: bool, vae: Path, data: Path, monkeypatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Meter, "measure", fail)
    with pytest.raises(RunFailed, match="eval: ") as raised:
        evaluate_run(vae, data)
    assert ("--batch-size" in str(raised.value)) == remedy


def test_other_data_are_refused(vae: Path, tmp_path: Path) -> None:
    made.dataset(tmp_path, counts=(70, 26))
    with pytest.raises(StudyError, match="eval_data.npz: not the data that .* was trained on"):
        evaluate_run(vae, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no run directory (run.json is missing)"),
        (["{out}", "--split", "trian"], "argument --split: invalid choice: 'trian'"),
        (["{out}", "--require", "mse,,kl"], "argument --require: 'mse,,kl': words between commas"),
        (["{out}", "--split", "test"], "no 'test' split; it has train, eval"),
        (["{out}", "--batch-size", "0"], "argument --batch-size: 0: a whole number of at least 1"),
        (["{out}", "--data", "nowhere"], "nowhere/tiny: no prepared data set there"),
    ],
)
def test_bad_command_lines(arguments, message, vae: Path, data: Path, monkeypatch, capsys) -> None:
    words = [word.format(out=vae) for word in arguments]
    if "--data" not in words:
        words += ["--data", str(data)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", main)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1 and said.startswith("evaluate: ")
    assert message in said


def test_untrained_run_is_refused(tmp_path: Path, vae: Path, data: Path) -> None:
    (tmp_path / "run.json").write_text((vae / "run.json").read_text())
    with pytest.raises(StudyError, match="training has not finished there"):
        evaluate_run(tmp_path, data)


def test_command_prints_the_numbers(vae: Path, data: Path) -> None:
    command = [sys.executable, "-m", "evaluate", vae, "--data", data]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "25 images" in done.stdout and "ELBO (Bernoulli, 3 draws)" in done.stdout
    assert "20 samples and their own reconstructions" in done.stdout
    assert "Diversity" in done.stdout
