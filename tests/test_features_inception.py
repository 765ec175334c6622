"""Features of Inception: torch-fidelity's network, its weights out of a file that is there."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from evaluate.features import inception, lacking_features, load_features, store
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.schema import Evaluation
from tests import made
from train.dataset import to_unit

CPU = torch.device("cpu")
INCEPTION = Evaluation(features=["inception"])


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Dataset:
    """A data set with labels."""
    data = tmp_path_factory.mktemp("data")
    made.dataset(data, "made", (1, 12, 12), (20,), beside={"labels": np.arange(20) % 2})
    return open_dataset(data, "made")


class Unloaded(FeatureExtractorInceptionV3):
    """torch-fidelity's network as it is before any weights."""

    def load_state_dict(self, *args: object, **kwargs: object) -> None:
        pass


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory) -> Path:
    """A file of random weights under a name with its true hash."""
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "plain.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    net = Unloaded("x", ["2048"], feature_extractor_weights_path=path).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    # Running means and variances of these images: features that do not vanish.
    net(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    return named_by_its_hash(path)


def named_by_its_hash(path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(inception.FILE.replace("6726825d", digest)))


@pytest.fixture
def no_hub(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HUB_DIR", raising=False)
    return tmp_path / "home" / "hub" / "checkpoints"


def test_inception_is_torch_fidelitys(random_inception: Path, no_hub, ready, monkeypatch) -> None:
    monkeypatch.setattr(inception, "FILE", random_inception.name)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    assert lacking_features(INCEPTION, ready, random_inception.parent) == {}
    features = load_features(INCEPTION, ready, random_inception.parent, CPU)["inception"]
    assert torch.equal(torch.get_rng_state(), before)
    digest = hashlib.sha256(random_inception.read_bytes()).hexdigest()
    assert features.settings["sha256"] == digest[:12]
    assert features.settings["weights"] == random_inception.name
    package = FeatureExtractorInceptionV3(
        "theirs", ["2048"], feature_extractor_weights_path=str(random_inception)
    )
    for channels in (1, 3):
        levels = made.images(3, (channels, 28, 28))
        got = features.extract(to_unit(levels))
        want = package(torch.from_numpy(levels).repeat(1, 3 // channels, 1, 1))[0]
        assert got.shape == (3, features.dimensions) == (3, 2048)
        assert want.std(0).max() > 1e-3 and torch.equal(got, want)
    # Grey levels between two are those of the nearer one.
    between = to_unit(levels.clip(1, 254)) + 0.4 / 255
    below = to_unit(levels.clip(1, 254)) - 0.4 / 255
    assert torch.equal(features.extract(between), features.extract(below))
    alone = features.extract(to_unit(levels[1:2]))
    torch.testing.assert_close(alone, got[1:2], rtol=1e-3, atol=1e-4)


def test_inception_that_is_not_there(no_hub, ready, tmp_path, monkeypatch, capsys) -> None:
    store.say_once.cache_clear()
    missing = lacking_features(INCEPTION, ready, tmp_path)
    assert missing == {"inception": f"{inception.FILE} was not found"}
    for _ in range(2):
        assert load_features(INCEPTION, ready, tmp_path, CPU) == {}
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and not no_hub.exists()
    assert (
        f"; 'python -m evaluate prefetch --weights {tmp_path}' on a machine with internet" in said
    )
    assert f"put it into {tmp_path} or {no_hub} (it is {inception.ORIGIN}{inception.FILE})" in said
    monkeypatch.setattr(store, "RECIPE", dataclasses.replace(store.RECIPE, steps=2))
    both = Evaluation(features=["inception", "classifier"])
    assert list(load_features(both, ready, tmp_path, CPU)) == ["classifier"]


def test_where_torch_fidelity_has_it_from() -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert URL_INCEPTION_V3 == inception.ORIGIN + inception.FILE


@pytest.mark.parametrize("damage", ["cut", "code", "foreign"])
def test_a_wrong_inception_file_is_named(damage: str, no_hub, ready, tmp_path, monkeypatch) -> None:
    if damage == "cut":
        path = tmp_path / inception.FILE
        path.write_bytes(b"<html>")
        message = "its SHA-256 begins with .*, its name says 6726825d"
    else:
        path = tmp_path / "plain.pth"
        torch.save(
            {"a": torch.ones(1)} if damage == "foreign" else made.Runs(tmp_path / "ran"), path
        )
        path = named_by_its_hash(path)
        monkeypatch.setattr(inception, "FILE", path.name)
        message = "holds no InceptionV3 of torch-fidelity"
    with pytest.raises(StudyError, match=message) as caught:
        load_features(INCEPTION, ready, tmp_path, CPU)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()
