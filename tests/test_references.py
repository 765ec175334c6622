"""Reference rows against closed forms and other implementations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.parts import write_dataset
from evaluate.measure import Meter, measure
from evaluate.perceptual import Perceptual
from evaluate.principal import mean_image, principal_components
from evaluate.references import Reference, references_of
from evaluate.result import Result
from study.datasets import Dataset, open_dataset
from study.schema import Evaluation, FiniteData
from tests import made

CPU = torch.device("cpu")
HOW = Evaluation(split="eval", lpips=[])
SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """90 training images and 25 others."""
    data = tmp_path_factory.mktemp("data")
    made.dataset(data, "tiny", SHAPE, (90, 25))
    return open_dataset(data, "tiny")


def rows(dataset: Dataset, *dims: int, how: Evaluation = HOW) -> dict[str, Reference]:
    return {made.name: made for made in references_of(dims, how, dataset, CPU)}


def measured(reference: Reference, images: np.ndarray, batch_size: int = 8) -> Result:
    return measure(Meter(reference.latents, HOW, Perceptual(), 0), images, batch_size, "a test")


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


def test_names_and_order(dataset: Dataset) -> None:
    found = references_of([16, 2, 16], HOW, dataset, CPU)
    assert [made.name for made in found] == ["pca-2", "pca-16", "mean_image", "data"]
    labels = ["PCA (2 dimensions)", "PCA (16 dimensions)", "mean image", "the data itself"]
    assert [made.label for made in found] == labels
    assert [made.order for made in found] == [0, 1, 2, 3]
    finite = rows(dataset, how=HOW.model_copy(update={"finite": FiniteData()}))
    assert list(finite) == ["mean_image", "data", "perfect_sampler"]
    assert finite["perfect_sampler"].label == "perfect sampler"


@pytest.mark.parametrize("count", [1, 5, 40])
def test_pca_equals_scikit_learn(count: int, dataset: Dataset) -> None:
    from sklearn.decomposition import PCA

    images = np.asarray(dataset.images("train"))
    want = PCA(count, svd_solver="full").fit(flat(images))
    got = principal_components(images, count, CPU)
    np.testing.assert_allclose(got.mean, want.mean_, atol=1e-15)
    np.testing.assert_allclose(got.variances, want.explained_variance_, rtol=1e-4)
    ours, theirs = got.directions.numpy(), want.components_.T
    np.testing.assert_allclose(ours.T @ ours, np.eye(count), atol=1e-12)
    # The same subspace: the projections differ by nothing.
    assert np.abs(ours @ ours.T - theirs @ theirs.T).max() < 1e-3


def test_error_of_pca_is_the_variance_left_out(dataset: Dataset) -> None:
    """Mean over the training split, before anything is cut off, by numpy's SVD."""
    images = np.asarray(dataset.images("train"))
    centred = flat(images) - flat(images).mean(0)
    left = (np.linalg.svd(centred, compute_uv=False) ** 2 / images.size)[6:].sum()
    got = principal_components(images, 6, CPU)
    error = centred - centred @ got.directions.numpy() @ got.directions.numpy().T
    assert (error**2).mean() == pytest.approx(left, rel=1e-4)
    # Cut off at 0 and 1 it comes nearer to images in [0, 1].
    values = measured(rows(dataset, 6)["pca-6"], images).per_image["MSE"]
    assert 0.5 * left < values.mean() < left


def test_subspace_of_wide_images_is_found_by_iteration() -> None:
    """More pixels than the subspace has dimensions: many passes, not one."""
    images = made.images(300, (3, 24, 24), seed=4)
    variances = np.linalg.svd(flat(images) - flat(images).mean(0), compute_uv=False) ** 2 / 299
    got = principal_components(images, 10, CPU)
    assert float(got.variances.sum()) == pytest.approx(variances[:10].sum(), rel=1e-5)
    np.testing.assert_allclose(got.variances, variances[:10], rtol=1e-4)


def test_pca_has_no_more_dimensions_than_images_or_pixels(tmp_path: Path) -> None:
    made.dataset(tmp_path, "few", SHAPE, (7, 5))
    few = open_dataset(tmp_path, "few")
    found = rows(few, 7, 64)
    assert list(found) == ["pca-7", "mean_image", "data"]
    train = np.asarray(few.images("train"))
    # Seven images span six dimensions around their mean.
    assert measured(found["pca-7"], train).per_image["MSE"].max() < 1e-9
    assert torch.isfinite(found["pca-7"].latents.samplers()[0].draw(5)).all()


def test_samples_of_pca_have_the_variances_of_the_training_data(dataset: Dataset) -> None:
    images = np.asarray(dataset.images("train"))
    want = principal_components(images, 3, CPU).variances
    latents = rows(dataset, 3)["pca-3"].latents
    (sampler,) = latents.samplers()
    assert sampler.key == "gaussian"
    z = sampler.draw(20_000).double()
    np.testing.assert_allclose(z.var(0), want, rtol=0.05)
    assert z.mean(0).abs().max() < 0.05 * want.sqrt().max()
    codes = latents.encode(torch.from_numpy(flat(images)).float().reshape(-1, *SHAPE)).z.double()
    np.testing.assert_allclose(codes.var(0), want, rtol=1e-4)
    s = latents.decode(z[:50].float())
    assert s.shape == (50, *SHAPE) and s.min() >= 0 and s.max() <= 1


def test_mean_image(dataset: Dataset) -> None:
    """On the split that it is the mean of, its error is what metrics.json says of that split."""
    train = dataset.images("train")
    row = rows(dataset)["mean_image"]
    found = measured(row, train)
    assert found.per_image["MSE"].mean() == pytest.approx(found.mean_image_mse, rel=1e-5)
    np.testing.assert_allclose(mean_image(train).flatten(), flat(train).mean(0), atol=1e-15)
    elsewhere = measured(row, dataset.images("eval")).per_image["MSE"].mean()
    want = ((flat(dataset.images("eval")) - flat(train).mean(0)) ** 2).mean()
    assert elsewhere == pytest.approx(want, rel=1e-5)
    (sampler,) = row.latents.samplers()
    s = row.latents.decode(sampler.draw(3))
    assert torch.equal(s[0], s[2])
    np.testing.assert_allclose(s[1].flatten(), flat(train).mean(0), atol=1e-6)


def test_the_data_itself(dataset: Dataset) -> None:
    row = rows(dataset)["data"]
    found = measured(row, dataset.images("eval")).per_image
    assert not found["MSE"].any() and not found["GMSD"].any()
    np.testing.assert_allclose(found["SSIM"], 1, atol=1e-6)
    (sampler,) = row.latents.samplers()
    train = flat(dataset.images("train"))
    # Each once before any comes again.
    first = row.latents.decode(sampler.draw(90)).flatten(1).double().numpy()
    np.testing.assert_allclose(np.unique(first, axis=0), np.unique(train, axis=0), atol=1e-7)
    assert not np.allclose(first, train, atol=0.01), "shuffled"
    np.testing.assert_allclose(
        np.unique(sampler.draw(90).flatten(1).numpy(), axis=0), np.unique(train, axis=0), atol=1e-7
    )


def test_perfect_sampler_draws_each_valid_image_alike(tmp_path: Path) -> None:
    """Six distinct images, which stand in the splits as often as they like."""
    six = made.images(6, SHAPE, seed=9)
    splits = {"train": six[[0, 0, 0, 0, 1, 2, 2, 3, 4]], "eval": six[[5, 5, 0, 1]]}
    dataset = write_dataset(tmp_path, "finite", splits)
    finite = HOW.model_copy(update={"finite": FiniteData()})
    row = rows(dataset, how=finite)["perfect_sampler"]
    (sampler,) = row.latents.samplers()
    s = row.latents.decode(sampler.draw(6000)).flatten(1)
    which = (s[:, None] - torch.from_numpy(flat(six)).float()).abs().amax(2).min(1)
    assert which.values.max() < 1e-6
    counts = torch.bincount(which.indices, minlength=6)
    # Chi-squared with five degrees of freedom: above 20.5 once in a thousand.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 20.5


@pytest.mark.parametrize("batch_size", [7, 64])
def test_batch_size_changes_no_number(batch_size: int, dataset: Dataset) -> None:
    finite = HOW.model_copy(update={"finite": FiniteData()})
    alone = rows(dataset, 5, how=finite)
    together = rows(dataset, 5, how=finite)
    for name, row in alone.items():
        want = measured(row, dataset.images("eval"), 1)
        got = measured(row, dataset.images("eval"), batch_size)
        assert want.per_image.keys() == got.per_image.keys() >= {"MSE", "BCE", "SSIM", "GMSD"}
        assert "KL" not in got.per_image
        for key, values in want.per_image.items():
            np.testing.assert_allclose(got.per_image[key], values, rtol=1e-5, atol=1e-7)
        (one,), (other,) = row.latents.samplers(), together[name].latents.samplers()
        parts = torch.cat([one.draw(n) for n in (1, batch_size, 100)])
        assert torch.equal(parts, other.draw(101 + batch_size))
