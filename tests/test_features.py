"""Features of the classifier, which is trained once for a data set."""

import dataclasses
import hashlib
import json
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_prep.prepare import prepare
from evaluate.features import Features, lacking_features, load_features, store
from evaluate.features.classifier import Classifier, masked_loss, train_classifier
from evaluate.features.recipe import RECIPE
from evaluate.features.targets import UNKNOWN, Targets, find_targets
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.schema import Evaluation
from tests import made
from tests.raw_data import ROOT, real_data
from train.dataset import to_unit

CPU = torch.device("cpu")
SHAPE = (1, 12, 12)
COUNT = 300
SHORT = dataclasses.replace(RECIPE, steps=60, batch=64, channels=(8, 16), rate=5e-3)
CLASSIFIER = Evaluation(features=["classifier"])


def quadrants(images: np.ndarray) -> np.ndarray:
    """Whether each image's blob lies below, and right, of the middle: 0 or 1, N x 2."""
    weights = images.astype(float).sum(1)
    place = np.arange(images.shape[-1])
    down = (weights.sum(2) * place).sum(1) / weights.sum((1, 2))
    right = (weights.sum(1) * place).sum(1) / weights.sum((1, 2))
    return (np.stack([down, right], 1) > (images.shape[-1] - 1) / 2).astype(np.int64)


def arrays(kind: str, count: int = COUNT) -> dict[str, np.ndarray]:
    """What `made.dataset` is to have beside its images, so that there is something to learn."""
    truth = quadrants(made.images(count, SHAPE))
    if kind == "labels":
        return {"labels": truth @ [2, 1]}
    if kind == "factors":
        return {"factors": truth * [7, 3] + 5, "factor_names": np.array(["y", "x"])}
    attributes = (2 * truth - 1).astype(np.int8)
    attributes[::3] = 0
    attributes[1::3, 0] = 0
    return {"attributes": attributes, "attribute_names": np.array(["Low", "Right"])}


def labelled(data: Path, kind: str = "labels", count: int = COUNT) -> Dataset:
    made.dataset(data, "made", SHAPE, (count, 40), beside=arrays(kind, count))
    return open_dataset(data, "made")


def load(dataset: Dataset) -> Features:
    return load_features(CLASSIFIER, dataset, None, CPU)["classifier"]


def kept(dataset: Dataset) -> dict[str, tuple[bytes, int]]:
    """Content and time of the two files; they are written anew under another time."""
    paths = sorted(dataset.folder.glob("classifier.*"))
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """torch-fidelity's FID of two sets of features."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = (fid_features_to_statistics(part) for part in (a, b))
    return fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    """A recipe of a second, in a process that has said and kept nothing yet."""
    monkeypatch.setattr(store, "RECIPE", SHORT)
    monkeypatch.setattr(store, "_not_kept", {})
    store.say_once.cache_clear()


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Dataset:
    """A data set with labels and its classifier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "RECIPE", SHORT)
        dataset = labelled(tmp_path_factory.mktemp("data"))
        load(dataset)
    return dataset


@pytest.fixture
def copy(ready: Dataset, tmp_path: Path) -> Dataset:
    shutil.copytree(ready.folder, tmp_path / "made")
    return open_dataset(tmp_path, "made")


def test_learns_and_its_features_separate(ready: Dataset) -> None:
    features = load(ready)
    about = features.settings
    assert about["accuracy"] > 0.85 > 0.5 > about["chance"]
    assert (about["targets"], about["classes"]) == ("labels", 4)
    assert (about["images"], about["held_out"]) == (COUNT - COUNT // 10, COUNT // 10)
    weights = (ready.folder / "classifier.pt").read_bytes()
    assert about["sha256"] == hashlib.sha256(weights).hexdigest()[:12]
    images = to_unit(made.images(200, SHAPE, seed=5))
    got = features.extract(images)
    assert got.shape == (200, features.dimensions) and got.dtype == torch.float32
    inverted = features.extract(1 - images[100:])
    assert frechet(got[:100], inverted) > 10 * frechet(got[:100], got[100:])


@pytest.mark.parametrize("kind", ["factors", "attributes"])
def test_learns_from_factors_and_from_attributes(kind: str, tmp_path) -> None:
    about = load(labelled(tmp_path, kind)).settings
    assert about["accuracy"] > 0.85 and about["chance"] < 0.7
    assert (about["targets"], about["classes"]) == (kind, 4)
    known = COUNT if kind == "factors" else COUNT - COUNT // 3
    assert about["images"] + about["held_out"] == known


def test_trained_once(copy: Dataset, capsys) -> None:
    before, said = kept(copy), capsys.readouterr().err
    assert load(copy).settings == load(copy).settings
    assert kept(copy) == before and set(before) == {"classifier.pt", "classifier.json"}
    assert said == "" == capsys.readouterr().err


def test_any_batch_size_and_nothing_trained_in_inference_mode(copy: Dataset) -> None:
    (copy.folder / "classifier.json").unlink()
    with torch.inference_mode():
        features = load(copy)
    images = to_unit(made.images(15, SHAPE, seed=3))
    together = features.extract(images)
    for size in (1, 7):
        parts = torch.cat([features.extract(part) for part in images.split(size)])
        torch.testing.assert_close(parts, together, rtol=1e-5, atol=1e-5)
    assert not together.requires_grad


def test_same_weights_again_and_generators_untouched(copy: Dataset) -> None:
    weights = (copy.folder / "classifier.pt").read_bytes()
    (copy.folder / "classifier.pt").unlink()

    def state() -> tuple:
        numbers = pickle.dumps((random.getstate(), np.random.get_state()))
        return torch.get_rng_state().tolist(), numbers, torch.get_num_threads()

    torch.manual_seed(11)
    before = state()
    load(copy)
    assert state() == before
    assert (copy.folder / "classifier.pt").read_bytes() == weights


def test_other_images_another_classifier(ready: Dataset, tmp_path, capsys) -> None:
    other = labelled(tmp_path, count=COUNT - 40)
    for name in ("classifier.pt", "classifier.json"):
        shutil.copy(ready.folder / name, other.folder)
    about = load(other).settings
    assert "trained on other images; it is trained anew" in capsys.readouterr().err
    assert about["sha256"] != load(ready).settings["sha256"]
    assert about["images"] + about["held_out"] == COUNT - 40
    record = json.loads((other.folder / "classifier.json").read_text())
    assert record["train_sha256"] == other.hashes()["train"]


def test_another_recipe_another_classifier(copy: Dataset, monkeypatch, capsys) -> None:
    monkeypatch.setattr(store, "RECIPE", dataclasses.replace(SHORT, seed=1, steps=20))
    assert load(copy).settings["seed"] == 1
    assert "trained by another recipe; it is trained anew" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "code", "record"])
def test_damage_is_noticed(damage: str, copy: Dataset, tmp_path, capsys) -> None:
    before = kept(copy)
    path, record = copy.folder / "classifier.pt", copy.folder / "classifier.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "code":
        path.write_bytes(pickle.dumps(made.Runs(tmp_path / "ran"), 2))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        record.write_text(json.dumps(json.loads(record.read_text()) | {"sha256": digest}))
    else:
        record.write_text(record.read_text()[:50])
    load(copy)
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: damaged") and "it is trained anew" in said
    assert {n: c for n, (c, _) in kept(copy).items()} == {n: c for n, (c, _) in before.items()}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [".classifier.pt.lock", "classifier.json"])
def test_a_folder_that_cannot_be_written_to(name: str, tmp_path, capsys) -> None:
    """Neither can a lock be taken on a folder, nor a file take its place; root is stopped, too."""
    dataset = labelled(tmp_path)
    (dataset.folder / name).mkdir()
    first = load(dataset)
    said = capsys.readouterr().err
    assert f"{dataset.folder}: cannot be written to (Is a directory): classifier.pt is of" in said
    assert load(dataset).settings == first.settings
    assert capsys.readouterr().err == ""
    assert not list(dataset.folder.glob("*.partial"))


# As on two nodes whose file system refuses locks.
APART = """
import errno, fcntl, os
os.environ["SLURMD_NODENAME"] = f"c{os.getpid()}"
def flock(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


@pytest.mark.parametrize("where", ["", APART], ids=["one machine", "two nodes"])
def test_two_processes_train_one(copy: Dataset, where: str) -> None:
    (copy.folder / "classifier.pt").unlink()
    code = (
        "import sys, json, torch; from pathlib import Path\n"
        "from evaluate.features import load_features, store\n"
        "from study.datasets import open_dataset; from study.schema import Evaluation\n"
        "store.RECIPE = type(store.RECIPE)(**json.loads(sys.argv[2]))\n"
        "how = Evaluation(features=['classifier'])\n"
        "dataset = open_dataset(Path(sys.argv[1]), 'made')\n"
        "made = load_features(how, dataset, None, torch.device('cpu'))\n"
        "print(made['classifier'].settings['sha256'])"
    )
    recipe = json.dumps(dataclasses.asdict(SHORT))
    command = [sys.executable, "-c", where + code, str(copy.folder.parent), recipe]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert ends[0][0] == ends[1][0] == load(copy).settings["sha256"] + "\n"
    assert sum("trained in" in said for _, said in ends) == 1
    assert not list(copy.folder.glob(".*"))


def test_nothing_to_learn(tmp_path, capsys) -> None:
    made.dataset(tmp_path, "plain", SHAPE, (20,))
    made.dataset(tmp_path, "one", SHAPE, (20,), beside={"labels": np.zeros(20, np.int64)})
    for name in ("plain", "one"):
        dataset = open_dataset(tmp_path, name)
        why = lacking_features(CLASSIFIER, dataset, None)["classifier"]
        assert "no labels, factors or attributes to tell apart" in why
        assert load_features(CLASSIFIER, dataset, None, CPU) == {}
        assert not list(dataset.folder.glob("*classifier*"))
    assert capsys.readouterr().err.count("FID (classifier), KID") <= 1
    assert lacking_features(Evaluation(), open_dataset(tmp_path, "plain"), None) == {}


def test_labels_that_are_not_one_for_each_image(tmp_path) -> None:
    made.dataset(tmp_path, "odd", SHAPE, (20,), beside={"labels": np.arange(19)})
    with pytest.raises(StudyError, match=r"train_data.npz: labels: shape \(19,\); \(20,\) wanted"):
        lacking_features(CLASSIFIER, open_dataset(tmp_path, "odd"), None)


def test_targets_are_classes_from_nought(tmp_path) -> None:
    attributes = np.array([[1, 0, -1], [0, 0, -1], [-1, 0, -1]], np.int8)
    made.dataset(tmp_path, "made", SHAPE, (3,), beside={"attributes": attributes})
    targets = find_targets(open_dataset(tmp_path, "made"))
    # The second is never known, the third always the same: neither is a question.
    assert targets.values.tolist() == [[1], [UNKNOWN], [0]]
    assert targets.classes == (2,) and targets.known().tolist() == [0, 2]


def test_loss_is_the_masked_binary_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, 2, generator=generator).double().requires_grad_() for _ in range(3)]
    answers = torch.randint(UNKNOWN, 2, (6, 3), generator=generator)
    loss = masked_loss(tuple(logits), answers)
    loss.backward()
    difference = torch.stack([(head[:, 1] - head[:, 0]).detach() for head in logits], 1)
    known = answers != UNKNOWN
    want = F.binary_cross_entropy_with_logits(difference[known], answers[known].double())
    assert 0 < known.sum() < known.numel()
    torch.testing.assert_close(loss.detach(), want)
    for i, head in enumerate(logits):
        assert not head.grad[~known[:, i]].any() and head.grad[known[:, i]].all()


def test_images_of_which_nothing_is_known_are_not_looked_at() -> None:
    images = made.images(60, SHAPE)
    values = quadrants(images)
    values[::2] = UNKNOWN
    recipe = dataclasses.replace(SHORT, steps=10)
    targets = Targets("attributes", values, (2, 2))
    net, score = train_classifier(images, targets, recipe, CPU, "made")
    assert score.images + score.held_out == 30
    changed = images.copy()
    changed[::2] = 255 - changed[::2]
    again, _ = train_classifier(changed, targets, recipe, CPU, "made")
    first = Classifier(SHAPE, (2, 2), recipe).state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
        assert not torch.equal(value, first[key])


@pytest.mark.parametrize("side", [3, 28, 64, 218])
def test_images_of_any_size(side: int) -> None:
    net = Classifier((3, side, side + 1), (5,), RECIPE)
    assert net.features(torch.rand(2, 3, side, side + 1)).shape == (2, 64)


def test_preparing_data_leaves_and_replaces_it(tmp_path) -> None:
    folder = prepare("shapes", {}, None, tmp_path)
    (folder / "classifier.pt").write_bytes(b"x")
    prepare("shapes", {}, None, tmp_path)
    assert (folder / "classifier.pt").exists()
    prepare("shapes", {}, None, tmp_path, overwrite=True)
    assert not (folder / "classifier.pt").exists()


def test_real_digits(tmp_path, monkeypatch) -> None:
    dataset = open_dataset(prepare("mnist", {}, real_data("mnist"), tmp_path).parent, "mnist")
    monkeypatch.setattr(store, "RECIPE", dataclasses.replace(RECIPE, steps=60))
    features = load(dataset)
    assert features.settings["accuracy"] > 0.85 and features.settings["chance"] < 0.13
    images = to_unit(dataset.images("test")[:4000])
    blurred = F.avg_pool2d(images[2000:], 5, 1, 2)
    half, other, blurred = (features.extract(x) for x in (*images.split(2000), blurred))
    assert frechet(half, blurred) > 10 * frechet(half, other)
