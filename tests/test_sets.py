"""Distances of sets: what of the features each looks at, and what is said where one is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from evaluate.features import store
from evaluate.features.recipe import RECIPE
from evaluate.formats import to_markdown
from evaluate.metric import OF_FEATURES, feature_key
from evaluate.metrics.fid import Moments, frechet_distance
from evaluate.metrics.kid import kernel_distance
from evaluate.metrics.prdc import prdc
from evaluate.registry import metrics_for
from evaluate.run import evaluate_run
from evaluate.sets import SEED, FeatureSet, compare
from evaluate.tables import NotMeasured, TableCell, build_table
from study.datasets import Dataset, open_dataset
from study.jsonfile import read_json_object
from tests import made
from tests.made_record import record
from tests.made_work import HOW, Counting, Counts, work
from tests.training import train
from train.latents import latents_of
from train.run import load_trained


def features(count: int, seed: int, dimensions: int = 5) -> torch.Tensor:
    draws = np.random.default_rng(seed).normal(size=(count, dimensions)) + 0.2 * seed
    return torch.from_numpy(draws).float()


def feature_set(of: torch.Tensor, most: int, batch: int = 7) -> FeatureSet:
    made = FeatureSet(most)
    for part in of.split(batch):
        made.add(part)
    return made


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_all_features_have_moments_and_the_first_are_kept(batch: int) -> None:
    of = features(40, 0)
    kept = feature_set(of, 12, batch)
    assert torch.equal(kept.features, of[:12]) and kept.kept == 12
    assert kept.moments.count == 40
    np.testing.assert_allclose(kept.moments.covariance, np.cov(of.double().T), rtol=1e-9)
    assert torch.equal(feature_set(of, 100, batch).features, of)


def test_fid_is_of_all_and_the_rest_of_the_first() -> None:
    """Each the very value of its metric, of those features."""
    real, fake = features(60, 0), features(45, 1)
    how = HOW.model_copy(update={"feature_images": 20, "neighbours": 3})
    values, missing = compare("classifier", feature_set(real, 20), feature_set(fake, 20), how)
    assert not missing
    moments = [Moments(), Moments()]
    for seen, of in zip(moments, (real, fake), strict=True):
        seen.add(of)
    assert values["FID (classifier)"] == pytest.approx(frechet_distance(*moments), rel=1e-9)
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(of) for of in (real, fake)]
    theirs = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert values["FID (classifier)"] == pytest.approx(theirs, rel=1e-5)
    want = kernel_distance(real[:20], fake[:20], seed=SEED)[0]
    assert values["KID (classifier)"] == want
    assert want != kernel_distance(real, fake, seed=SEED)[0]
    of_first = prdc(real[:20], fake[:20], 3)
    assert of_first != prdc(real, fake, 3) != prdc(real[:20], fake[:20], 2)
    assert {feature_key(key, "classifier"): value for key, value in of_first.items()} == {
        key: value for key, value in values.items() if key[:3] not in ("FID", "KID")
    }
    assert values.keys() == {feature_key(key, "classifier") for key in OF_FEATURES}


@pytest.mark.parametrize(
    ("samples", "missing"),
    [
        (4, {"FID": "of the samples: needs at least as many samples as features, 5, has 4"}),
        (
            3,
            {
                "FID": "of the samples: needs at least as many samples as features, 5, has 3",
                **dict.fromkeys(
                    ("precision", "recall", "density", "coverage"),
                    "a 3th neighbour wants more than 3 images",
                ),
            },
        ),
        (
            1,
            {
                "FID": "of the samples: needs at least as many samples as features, 5, has 1",
                "KID": "it takes two images of each at least",
                **dict.fromkeys(
                    ("precision", "recall", "density", "coverage"),
                    "a 3th neighbour wants more than 1 images",
                ),
            },
        ),
        (5, {}),
    ],
)
def test_what_too_few_samples_do_not_give(samples: int, missing: dict[str, str]) -> None:
    how = HOW.model_copy(update={"neighbours": 3})
    real, fake = feature_set(features(30, 0), 50), feature_set(features(samples, 1), 50)
    values, why = compare("inception", real, fake, how)
    assert why == {feature_key(key, "inception"): reason for key, reason in missing.items()}
    every = {feature_key(key, "inception") for key in OF_FEATURES}
    assert values.keys() == every - why.keys()
    assert all(np.isfinite(value) for value in values.values())


# --- of a model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """`tiny` whose training images have labels: whether the blob is large."""
    folder = tmp_path_factory.mktemp("labelled")
    light = made.images(70, (1, 28, 28)).mean((1, 2, 3))
    made.dataset(folder, beside={"labels": (light > np.median(light)).astype(np.int64)})
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, labelled):
    how = HOW.model_dump() | {"likelihood": {"name": "bernoulli"}}
    return train(tmp_path_factory.mktemp("trained"), labelled, "VAE", evaluation=how)


@pytest.fixture(scope="module")
def model(trained) -> torch.nn.Module:
    return load_trained(trained)[1]


@pytest.fixture(scope="module")
def dataset(labelled) -> Dataset:
    return open_dataset(labelled, "tiny")


def test_features_are_extracted_once_an_image(model, dataset: Dataset, monkeypatch) -> None:
    counting, counts = Counting(784), Counts(monkeypatch)
    done = work(latents_of(model), dataset, counting.features(), batch_size=7).measure()
    assert counting.seen == 25 + 2 * 20 == counts.data + counts.samples
    # The values are those of the images and samples themselves.
    shown = torch.from_numpy(np.array(dataset.images("eval"))).float() / 255
    of_data = shown.flatten(1) @ counting.matrix
    np.testing.assert_allclose(done.result.features["classifier"].features, of_data[:12], rtol=1e-4)
    assert done.result.features["classifier"].moments.count == 25
    for of in done.generations:
        assert {feature_key(key, "classifier") for key in OF_FEATURES} <= of.result.per_split.keys()


def test_a_refused_fid_is_an_empty_cell_with_its_reason(model, dataset: Dataset) -> None:
    """From the features to the table."""
    done = work(latents_of(model), dataset, Counting(784, 21).features()).measure()
    (made, _), known = done.generations, metrics_for(HOW, {"classifier": {}})
    why = "of the samples: needs at least as many samples as features, 21, has 20"
    assert made.missing == {"FID (classifier)": why}
    assert "FID (classifier)" not in made.result.per_split
    metrics = {}
    for key, value in made.result.per_split.items():
        about = dataclasses.asdict(known[key])
        metrics[about.pop("key")] = about | {"mean": value, "sd": None}
    told = record(("VAE", [{}]))
    sampled = {"title": "z", "samples": 20, "metrics": metrics, "missing": made.missing}
    told["rows"][0]["cells"][0]["generations"] = {"prior": sampled}
    keys = ["FID (classifier)", "KID (classifier)"]
    table = build_table(told, {"name": "t", "title": "T", "of": "generation", "metrics": keys})
    ((fid, kid),) = [row.cells for row in table.rows]
    assert fid == NotMeasured(why)
    assert isinstance(kid, TableCell) and kid.mean == made.result.per_split["KID (classifier)"]
    shown = to_markdown(table)
    assert f"FID (classifier) was not measured: {why}." in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("| VAE")]
    assert line.split("|")[-3].strip() == ""


def test_batch_size_changes_no_number(trained, labelled, monkeypatch) -> None:
    """Of any there is but LPIPS: with a real classifier, a finite data set, two samplers."""
    short = dataclasses.replace(RECIPE, steps=20, batch=32, channels=(4, 8), dimensions=8)
    monkeypatch.setattr(store, "RECIPE", short)

    def measured(batch_size: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        entry = evaluate_run(trained, labelled, batch_size=batch_size)
        assert entry == read_json_object(trained / "metrics.json")["splits"]["eval"]
        assert not entry["missing"]
        parts = {"data": entry, **entry["generations"]}
        means = {
            f"{of}/{key}": about["mean"]
            for of, part in parts.items()
            for key, about in part["metrics"].items()
        }
        with np.load(trained / "per_image.npz") as arrays:
            return means, dict(arrays)

    means, arrays = measured(25)
    for of in ("prior", "mixture"):
        wanted = {feature_key(key, "classifier") for key in OF_FEATURES}
        wanted |= {"NN valid", "coverage@t", "D_KL", "diversity", "MSE"}
        assert {f"{of}/{key}" for key in wanted} <= means.keys()
    assert {"data/NLL", "data/reconstruction bits", "data/active units"} <= means.keys()
    for batch_size in (1, 7, 64):
        others, their_arrays = measured(batch_size)
        assert others.keys() == means.keys() and their_arrays.keys() == arrays.keys()
        for key, value in means.items():
            tolerance = {"rel": 1e-4, "abs": 1e-5} if "(classifier)" in key else {"rel": 2e-5}
            assert others[key] == pytest.approx(value, **tolerance), key
        for key, values in arrays.items():
            got = their_arrays[key]
            np.testing.assert_allclose(got, values, rtol=2e-5, atol=2e-6, err_msg=key)
