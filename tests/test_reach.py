"""How near samples lie to images whose neighbours are known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from benchmarks.parts import write_dataset
from evaluate import reach
from evaluate.generate import Asked, generate
from evaluate.measure import Meter, measure
from evaluate.metric import as_published
from evaluate.perceptual import Perceptual
from evaluate.reach import Neighbours, ValidImages
from evaluate.references import references_of
from study.datasets import Dataset, open_dataset
from study.schema import Evaluation, FiniteData
from tests import made
from train.dataset import to_unit

SHAPE = (1, 16, 16)
CPU = torch.device("cpu")


def grey(*levels: int, side: int = 16) -> np.ndarray:
    """Flat images of those grey levels."""
    return np.stack([np.full((1, side, side), level, np.uint8) for level in levels])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """References come in several blocks."""
    monkeypatch.setattr(reach, "_AT_ONCE", 3)


def test_a_copy_of_a_training_image_is_found_and_lies_at_nought() -> None:
    data, training = made.images(20, SHAPE, seed=1), made.images(31, SHAPE, seed=2)
    copied = [30, 0, 7, 7]
    found = Neighbours(data, training).distances(to_unit(training[copied]))
    assert found["nearest"].tolist() == copied
    assert found["value.NN train"].tolist() == [0, 0, 0, 0]
    # Apart from the copies: scipy's distances, of root mean squares.
    a, b = training[copied].reshape(4, -1) / 255, data.reshape(20, -1) / 255
    want = cdist(a, b).min(1) / math.sqrt(a.shape[1])
    np.testing.assert_allclose(found["value.NN data"], want, rtol=1e-6)
    assert want.min() > 0.01


@pytest.mark.parametrize("side", [8, 16])
def test_distances_are_root_mean_squares_and_know_no_size(side: int) -> None:
    near = Neighbours(grey(255, side=side), grey(0, 51, 102, 204, side=side))
    found = near.distances(to_unit(grey(0, 255, 60, side=side)))
    assert found["value.NN data"].tolist() == pytest.approx([1, 0, 195 / 255])
    assert found["value.NN train"].tolist() == pytest.approx([0, 51 / 255, 9 / 255], abs=1e-7)
    assert found["nearest"].tolist() == [0, 3, 1]


def test_one_pixel_counts_for_its_share() -> None:
    black = grey(0)
    dotted = black.copy()
    dotted[0, 0, 3, 4] = 255
    found = Neighbours(black, black).distances(to_unit(dotted))
    assert found["value.NN data"].tolist() == pytest.approx([1 / 16])


def generated(dataset: Dataset, row: str, how: Evaluation, batch_size: int = 7):
    """The samples of a reference row, measured as a run's are."""
    reference = next(r for r in references_of([], how, dataset, CPU) if r.name == row)
    meter = Meter(reference.latents, how, Perceptual(), 0)
    images = dataset.images("eval")
    data = measure(meter, images, 16, "a test")
    finite = ValidImages(dataset, how.finite) if how.finite else None
    near = Neighbours(images, dataset.images("train"), finite)
    asked = Asked(how.samples, how.pictures, batch_size, data, near)
    (sampler,) = reference.latents.samplers()
    return generate(meter, sampler, asked, "a test")


def test_training_images_as_samples_are_pictured_beside_themselves(tmp_path) -> None:
    """A generator that knows its training set by heart is seen to."""
    made.dataset(tmp_path, "tiny", SHAPE, (30, 12))
    dataset = open_dataset(tmp_path, "tiny")
    how = Evaluation(split="eval", lpips=[], samples=25, pictures=9)
    found = generated(dataset, "data", how)
    assert found.neighbours.shape == (9, *SHAPE)
    assert np.array_equal(found.neighbours, found.shown)
    assert not found.result.per_image["NN train"].any()
    assert len(found.result.per_image["NN data"]) == 25
    assert found.result.per_image["NN data"].min() > 0.01
    mean = generated(dataset, "mean_image", how)
    train = dataset.images("train").reshape(30, -1) / 255
    distances = cdist(train.mean(0, keepdims=True), train)[0]
    assert np.array_equal(mean.neighbours[4], dataset.images("train")[distances.argmin()])
    assert mean.result.per_image["NN train"] == pytest.approx(distances.min() / 16, rel=1e-5)


# --- finite data sets ----------------------------------------------------------------------------

HOW = FiniteData(threshold=1.0, samples=5, distance_samples=2, epsilon=0.01)
# Of four images two stand twice: six configurations, numbered through the splits.
TRAIN, EVAL = (0, 0, 80, 160), (160, 255)


@pytest.fixture
def finite(tmp_path) -> Dataset:
    return write_dataset(tmp_path, "finite", {"train": grey(*TRAIN), "eval": grey(*EVAL)})


def test_what_is_valid_is_the_distinct_images_of_all_splits(finite: Dataset) -> None:
    valid = ValidImages(finite, HOW)
    assert (valid.configurations, valid.count) == (6, 4)
    which = valid.which.tolist()
    assert which[0] == which[1] and which[3] == which[4]
    assert sorted({which[i] for i in (0, 2, 3, 5)}) == [0, 1, 2, 3]
    # Drawn: five for the coverage, four for D_KL, six for D_KL as published, two for distances.
    assert valid.draws == 6
    more = HOW.model_copy(update={"samples": 40, "distance_samples": 50})
    assert ValidImages(finite, more).draws == 50


def test_the_nearest_valid_image_is_the_first_of_its_likes(finite: Dataset) -> None:
    found = ValidImages(finite, HOW).nearest(to_unit(grey(0, 70, 165, 250)))
    assert found["valid.index"].tolist() == [0, 2, 3, 5]
    # Euclidean over 256 pixels: no root of a mean.
    want = [0, 16 * 10 / 255, 16 * 5 / 255, 16 * 5 / 255]
    assert found["valid.distance"].tolist() == pytest.approx(want, abs=1e-6)


def test_numbers_by_hand_as_defined_and_as_published(finite: Dataset) -> None:
    """Six samples: near 0, 0, 80, 160 (too far), 255, 255."""
    index = torch.tensor([0, 0, 2, 3, 5, 5])
    distance = torch.tensor([0.0, 0.9, 1.0, 1.1, 0.2, 0.0], dtype=torch.float64)
    got = ValidImages(finite, HOW).numbers(distance, index)
    # The first five samples reach 0, 80 and 255 of four images; of six configurations as many.
    assert got["coverage@t"] == 3 / 4
    assert got[as_published("coverage@t")] == 3 / 6
    # The first four: shares 1/2, 1/4, 1/4, 0 of four images, plus 0.01.
    shares = [0.51, 0.26, 0.26, 0.01]
    want = sum(math.log2(0.25 / share) / 4 for share in shares)
    assert got["D_KL"] == pytest.approx(want, rel=1e-12)
    # All six: configurations 0 and 5 twice, 2 and 3 once, 1 and 4 (second of their likes) never.
    shares = [2 / 6, 0, 1 / 6, 1 / 6, 0, 2 / 6]
    want = sum(math.log2(1 / 6 / (share + 0.01)) / 6 for share in shares)
    assert got[as_published("D_KL")] == pytest.approx(want, rel=1e-12)
    assert got["distinct images"] == 4 and got[as_published("distinct images")] == 6


def test_a_perfect_sampler_misses_what_stands_twice_as_published(finite: Dataset) -> None:
    """Through drawing, decoding and comparing: only as published cannot it reach everything."""
    how = Evaluation(
        split="eval",
        lpips=[],
        samples=4,
        pictures=2,
        finite=HOW.model_copy(update={"samples": 200, "distance_samples": 30}),
    )
    found = generated(finite, "perfect_sampler", how)
    numbers = found.result.per_split
    assert numbers["coverage@t"] == 1
    assert numbers[as_published("coverage@t")] == 4 / 6
    # Two configurations that no sample can be nearest to: log2(1/6 / 0.01) / 6 bits each at least.
    assert numbers[as_published("D_KL")] > 2 * math.log2(1 / 6 / 0.01) / 6 - math.log2(6 / 4)
    values = found.result.per_image
    assert len(values["NN valid"]) == 30 and not values["NN valid"].any()
    assert len(values["NN data"]) == len(values["MSE"]) == 4


def test_samples_for_a_finite_data_set_are_reconstructed_no_more_than_asked(
    finite: Dataset,
) -> None:
    """The mean image, all of it by hand."""
    how = Evaluation(split="eval", lpips=[], samples=3, pictures=2, finite=HOW)
    found = generated(finite, "mean_image", how)
    mean = 60 / 255  # of 0, 0, 80, 160
    assert found.result.per_image["NN valid"] == pytest.approx([16 * (80 / 255 - mean)] * 2)
    assert found.result.per_image["NN train"] == pytest.approx([80 / 255 - mean] * 3)
    assert found.result.per_image["NN data"] == pytest.approx([160 / 255 - mean] * 3)
    numbers = found.result.per_split
    # It lies 1.25 from its neighbour, beyond the threshold.
    assert numbers["coverage@t"] == numbers[as_published("coverage@t")] == 0
    want = (3 * math.log2(0.25 / 0.01) + math.log2(0.25 / 1.01)) / 4
    assert numbers["D_KL"] == pytest.approx(want)
