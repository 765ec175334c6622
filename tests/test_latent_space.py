"""Latents of whole runs: what is written, of which models, and that old numbers stay."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.prepare import prepare
from evaluate.references import references_of
from evaluate.run import evaluate_run
from evaluate.work import Measurement
from study.datasets import Dataset, open_dataset
from study.errors import RunFailed, StudyError
from study.rundir import RunDirectory
from study.schema import Evaluation, LatentSpace
from tests import made
from tests.made_work import HOW, work
from tests.training import train
from train.latents import latents_of
from train.latents.base import Encoded
from train.latents.draws import LATENTS, TRAINING_LATENTS, Noise
from train.run import load_trained

LATENT = {"training_images": 40, "neighbours": 3, "zeroed": 4}
ASKED = made.EVALUATION | {"latents": LATENT, "sharpness": True}
# Nothing that needs another network, or all of the data.
FEWER = {"features": [], "finite": None, "nll_samples": 0, "samplers": ["prior"]}
PLAIN = HOW.model_copy(update=FEWER)
HERE = PLAIN.model_copy(update={"latents": LatentSpace(**LATENT), "sharpness": True})
ALWAYS = {"W1", "W1 (train)", "W1 (means)", "variance of means", "re-encoding"}
OF_CLASSES = {"purity", "purity (adjusted)", "class information"}
CPU = torch.device("cpu")


def with_labels(data: Path, labels: dict[str, np.ndarray]) -> Dataset:
    """The set `tiny` with arrays beside its training images."""
    made.dataset(data, counts=(len(labels["labels"]), 25), beside=labels)
    return open_dataset(data, "tiny")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data: Path) -> dict[str, Path]:
    """Trained, and evaluated on the eval split."""
    made_runs = {}
    for kind in ("AE", "VAE", "VQVAE"):
        made_runs[kind] = train(tmp_path_factory.mktemp(kind), data, kind, evaluation=ASKED)
        evaluate_run(made_runs[kind], data)
    return made_runs


def entry_of(out: Path) -> dict:
    return RunDirectory(out).measured_splits()["eval"]


@torch.inference_mode()
def test_a_runs_numbers_are_those_of_its_model(runs: dict[str, Path], data: Path) -> None:
    out, dataset = runs["VAE"], open_dataset(data, "tiny")
    run, model = load_trained(out)
    entry, arrays = entry_of(out), np.load(RunDirectory(out).latents)
    about, numbers = entry["latents"], {k: v["mean"] for k, v in entry["metrics"].items()}
    x = torch.from_numpy(dataset.images("eval") / 255).float()
    output = model.eval().encoder(x)
    mean, log_var = output.embedding.numpy(), output.log_covariance.numpy()
    np.testing.assert_allclose(arrays["eval.mean"], mean, atol=1e-6)
    draws = Noise(run.seed, LATENTS).draw(25, 3).numpy()
    np.testing.assert_allclose(arrays["eval.z"], mean + np.exp(log_var / 2) * draws, atol=1e-5)
    x = torch.from_numpy(dataset.images("train")[:40] / 255).float()
    output = model.encoder(x)
    draws = Noise(run.seed, TRAINING_LATENTS).draw(40, 3)
    z = output.embedding + (output.log_covariance / 2).exp() * draws
    np.testing.assert_allclose(arrays["eval.train.z"], z, atol=1e-5)

    assert (about["dimensions"], about["images"], about["classes"]) == (3, 25, None)
    np.testing.assert_allclose(about["variance"], mean.var(0, ddof=1), rtol=1e-4)
    assert sum(about["kl"]) == pytest.approx(numbers["KL"], rel=1e-5)
    assert np.mean(about["variance"]) == pytest.approx(numbers["variance of means"])
    assert np.mean(about["w1"]) == pytest.approx(numbers["W1"])
    z = torch.from_numpy(arrays["eval.z"])
    again = model.encoder(model.decoder(z).reconstruction).embedding
    want = (z - again).square().mean(1).sqrt()
    stored = np.load(RunDirectory(out).per_image)["eval.re-encoding"]
    np.testing.assert_allclose(stored, want, atol=1e-5)
    assert numbers["re-encoding"] == pytest.approx(stored.mean())


@torch.inference_mode()
def test_samples_are_encoded_again(runs: dict[str, Path], data: Path) -> None:
    out = runs["AE"]
    made_of = entry_of(out)["generations"]["prior"]["metrics"]
    latents = latents_of(load_trained(out)[1].eval())
    z = latents.samplers(lambda: [])[0].draw(20)
    want = (z - latents.encode(latents.decode(z)).z).square().mean(1).sqrt().numpy()
    per_image = np.load(RunDirectory(out).per_image)
    np.testing.assert_allclose(per_image["eval.generations.prior.re-encoding"], want, atol=1e-5)
    assert "holes" not in made_of
    missing = entry_of(out)["generations"]["prior"]["missing"]
    assert missing["holes"] == "fewer than 100 images"
    assert made_of["re-encoding"]["mean"] == pytest.approx(want.mean(), rel=1e-5)


@torch.inference_mode()
def test_pictures_of_dimensions(runs: dict[str, Path], data: Path) -> None:
    out, images = runs["VAE"], open_dataset(data, "tiny").images("eval")
    arrays = np.load(RunDirectory(out).latents)
    model = load_trained(out)[1].eval()
    assert (arrays["eval.traversal_base"] == images[0]).all()
    assert arrays["eval.traverse"].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert arrays["eval.traversals"].shape == (3, 7, 1, 28, 28)
    z = model.encoder(torch.from_numpy(images[:1] / 255).float()).embedding
    z[0, 2] = -2
    shown = model.decoder(z).reconstruction[0].numpy() * 255
    assert np.abs(arrays["eval.traversals"][2, 1] - shown).max() < 0.51
    assert (arrays["eval.zeroed_originals"] == images[[0, 8, 16, 24]]).all()
    assert arrays["eval.zeroed"].shape == (4, 4, 1, 28, 28)
    z = model.encoder(torch.from_numpy(images[[0, 8, 16, 24]] / 255).float()).embedding
    assert (
        np.abs(arrays["eval.zeroed"][0] - model.decoder(z).reconstruction.numpy() * 255).max() < 1
    )
    z[:, 1] = 0
    assert (
        np.abs(arrays["eval.zeroed"][2] - model.decoder(z).reconstruction.numpy() * 255).max() < 1
    )


def test_sharpness_of_reconstructions(runs: dict[str, Path], data: Path) -> None:
    from scipy.signal import convolve2d

    out, images = runs["AE"], open_dataset(data, "tiny").images("eval") / 255
    model = load_trained(out)[1].eval()
    with torch.inference_mode():
        again = model({"data": torch.from_numpy(images).float()}).recon_x.numpy()
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])

    def sharp(many: np.ndarray) -> np.ndarray:
        return np.array([convolve2d(one[0], kernel, "valid").var() for one in many])

    stored = np.load(RunDirectory(out).per_image)["eval.sharpness"]
    np.testing.assert_allclose(stored, sharp(again) / sharp(images).mean(), rtol=1e-4)


def test_without_flat_latents_there_are_none(runs: dict[str, Path]) -> None:
    entry = entry_of(runs["VQVAE"])
    assert "latents" not in entry and not RunDirectory(runs["VQVAE"]).latents.exists()
    assert not (ALWAYS | {"holes"}) & entry["metrics"].keys()
    assert not {"re-encoding", "holes"} & entry["generations"]["uniform"]["metrics"].keys()
    assert "sharpness" in entry["metrics"]
    assert entry_of(runs["AE"])["latents"]["kl"] is None


def test_classes_are_labels(tmp_path: Path) -> None:
    dataset = with_labels(tmp_path, {"labels": np.arange(70) % 3})
    out = train(tmp_path, tmp_path, evaluation=ASKED | {"split": "train"})
    entry = evaluate_run(out, tmp_path)
    assert entry["metrics"].keys() >= ALWAYS | OF_CLASSES and not entry["missing"]
    assert entry["latents"]["classes"] == ["0", "1", "2"]
    arrays = np.load(RunDirectory(out).latents)
    assert (arrays["train.classes"] == np.arange(70) % 3).all()
    folder = dataset.folder
    named = dataset.manifest | {"class_names": ["ant", "bee", "cow"]}
    (folder / "manifest.json").write_text(json.dumps(named))
    assert evaluate_run(out, tmp_path)["latents"]["classes"] == ["ant", "bee", "cow"]


def measured(dataset: Dataset, how: Evaluation, name: str) -> Measurement:
    """A reference row's."""
    rows = {row.name: row for row in references_of([5], how, dataset, CPU)}
    return work(rows[name].latents, dataset, how=how).measure()


def test_real_shapes_by_their_factors(tmp_path: Path) -> None:
    prepare("shapes", {}, None, tmp_path)
    dataset = open_dataset(tmp_path, "shapes")
    how = HERE.model_copy(update={"images": 300, "latents": LatentSpace(training_images=500)})
    done = measured(dataset, how, "pca-5")
    about, found = done.latents.about, done.result.per_split
    assert about["classes"] == ["circle", "square", "triangle"] and about["kl"] is None
    assert about["factors"] == list(about["correlations"]) == ["size", "x", "y"]
    factors = np.asarray(dataset.array("eval", "factors"))[:300]
    means = done.latents.arrays["mean"]
    for i, name in enumerate(("size", "x", "y"), 1):
        want = [np.corrcoef(factors[:, i], column)[0, 1] for column in means.T]
        np.testing.assert_allclose(about["correlations"][name], want, atol=1e-9)
        assert found[f"correlation ({name})"] == pytest.approx(np.abs(want).max())
    assert (done.latents.arrays["classes"] == factors[:, 0]).all()
    distance = np.linalg.norm(means[:, None].astype(float) - means[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :10]
    assert found["purity"] == pytest.approx((factors[near, 0] == factors[:, :1]).mean(), abs=2e-3)


@pytest.mark.parametrize("name", ["mean_image", "data"])
def test_reference_rows_without_flat_latents(name: str, data: Path) -> None:
    done = measured(open_dataset(data, "tiny"), HERE, name)
    assert done.latents is None and not ALWAYS & done.result.per_split.keys()
    assert "holes" not in done.generations[0].result.per_split


def test_holes_are_where_samples_come_back_as_no_image_does(tmp_path: Path, data: Path) -> None:
    made.dataset(tmp_path, counts=(110, 100))
    dataset = open_dataset(tmp_path, "tiny")
    done = measured(dataset, HERE, "pca-5")
    (made_of,) = done.generations
    samples, images = (r.per_image["re-encoding"] for r in (made_of.result, done.result))
    share = (samples > np.quantile(images, 0.99)).mean()
    assert made_of.result.per_split["holes"] == share and "holes" not in made_of.missing


@pytest.mark.parametrize("every", [False, True])
def test_collapsed_dimensions_give_numbers(
    every: bool, tmp_path: Path, data: Path, monkeypatch
) -> None:
    beside = {"labels": np.arange(120) % 3, "factors": np.arange(120)[:, None]}
    dataset = with_labels(tmp_path, beside | {"factor_names": np.array(["size"])})
    out = train(tmp_path, data, "AE")
    latents = latents_of(load_trained(out)[1])
    encode = latents.encode

    def collapsed(x: torch.Tensor) -> Encoded:
        z = encode(x).z.clone()
        z[:, slice(None) if every else 0] = 0.1
        return Encoded(z)

    monkeypatch.setattr(latents, "encode", collapsed)
    done = work(latents, dataset, how=HERE.model_copy(update={"split": "train"})).measure()
    numbers = done.result.per_split
    assert all(np.isfinite(list(numbers.values())))
    assert done.latents.about["variance"][0] == pytest.approx(0, abs=1e-15)
    assert done.latents.about["correlations"]["size"][0] == 0
    (generation,) = done.generations
    assert ("holes" in generation.result.per_split) != every
    if every:
        assert generation.missing["holes"] == "no latent dimension is active: all images are one"
        assert numbers["class information"] == numbers["correlation (size)"] == 0
        assert numbers["purity (adjusted)"] == pytest.approx(0)
    else:
        assert numbers["correlation (size)"] > 0


def test_too_few_images_say_so(data: Path, tmp_path: Path) -> None:
    how = HERE.model_copy(update={"images": 1})
    done = measured(open_dataset(data, "tiny"), how, "pca-5")
    assert done.result.missing["variance of means"] == "fewer than two images"
    assert "variance of means" not in done.result.per_split
    few = HERE.model_copy(update={"images": 3, "split": "train"})
    done = measured(with_labels(tmp_path, {"labels": np.zeros(70, int)}), few, "pca-5")
    want = dict.fromkeys(("purity", "purity (adjusted)"), "3 neighbours want more than 3 images")
    want["class information"] = "all images are of one class"
    assert done.result.missing == want


def test_what_stands_beside_images_is_checked(tmp_path: Path) -> None:
    made.dataset(tmp_path, beside={"labels": np.zeros(69, int)})
    dataset = open_dataset(tmp_path, "tiny")
    how = HERE.model_copy(update={"split": "train"})
    with pytest.raises(StudyError, match=r"train_data.npz: labels: shape \(69,\); one for each"):
        measured(dataset, how, "pca-5")


def test_a_latent_that_is_not_finite_is_named(runs: dict[str, Path], data: Path) -> None:
    latents = latents_of(load_trained(runs["AE"])[1].eval())
    whole = work(latents, open_dataset(data, "tiny"), how=HERE)
    result = whole.measure().result
    with torch.no_grad():
        latents.model.encoder.embedding.bias[0] = torch.nan
    with pytest.raises(RunFailed, match="a test, images 0 to 24: a latent is not finite"):
        whole._latents(result)


def test_a_traversal_that_is_not_finite_is_no_picture(
    runs: dict[str, Path], data: Path, monkeypatch
) -> None:
    """Far out, where no image lies, a decoder may overflow."""
    latents = latents_of(load_trained(runs["AE"])[1].eval())
    decode = latents.decode
    monkeypatch.setattr(
        latents,
        "decode",
        lambda z: decode(z) + torch.where(z[:, :1, None, None] == 77, torch.inf, 0),
    )
    how = HERE.model_copy(update={"latents": LatentSpace(**LATENT | {"traverse": [0, 77]})})
    with pytest.raises(RunFailed, match="a test: a traversal is not finite"):
        work(latents, open_dataset(data, "tiny"), how=how).measure()
