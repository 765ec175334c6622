"""CelebA: what comes out, on made official folders and on real images."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_prep.celeba_decode import Frame, centre_box, decode
from data_prep.celeba_index import OFFICIAL, read_attributes, read_partition
from data_prep.prepare import prepare
from study.datasets import open_dataset
from study.errors import StudyError
from tests.raw_data import (
    NAMES,
    contents,
    fake_celeba,
    jpeg,
    real_data,
    run_cli,
    splits_of,
    zipped_celeba,
)

OPTIONS = {"image_size": 16, "subset": True}


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return fake_celeba(tmp_path_factory.mktemp("celeba") / "raw")


@pytest.fixture
def small_official(monkeypatch):
    """As if the published CelebA were the made one: 8, 3 and 3 images."""
    for name, count in (("train", 8), ("eval", 3), ("test", 3)):
        monkeypatch.setitem(OFFICIAL, name, count)


def test_splits_arrays_and_manifest(raw, tmp_path, capsys):
    folder = prepare("celeba", OPTIONS, raw, tmp_path)
    assert folder == tmp_path / "celeba16"
    sentence = "8 of 162,770 train, 3 of 19,867 eval and 3 of 19,962 test images of CelebA"
    assert capsys.readouterr().out == (
        f"{folder}: 8 train, 3 eval and 3 test images of 3 x 16 x 16; {sentence}\n"
    )
    expected = {"train": range(1, 9), "eval": range(9, 12), "test": range(12, 15)}
    for split, numbers in expected.items():
        with np.load(folder / f"{split}_data.npz", allow_pickle=False) as loaded:
            assert loaded["source"].dtype == np.int32
            assert loaded["source"].tolist() == list(numbers)
            assert loaded["attribute_names"].tolist() == NAMES
            assert loaded["attributes"].dtype == np.int8
            for n, image, row in zip(numbers, loaded["data"], loaded["attributes"], strict=True):
                assert np.array_equal(image, decode(jpeg(n), "x", Frame(16, None)))
                bits = np.random.default_rng(n).random(40) < 0.5
                assert np.array_equal(row, np.where(bits, 1, -1))
    manifest = manifest_of(folder)
    assert list(manifest)[:5] == ["format", "name", "dataset", "image_shape", "splits"]
    assert manifest["subset"] == sentence
    assert manifest["left_out"][0] == "162,762 train images: not among the raw files"
    assert manifest["options"] == {
        "image_size": 16,
        "crop": "none",
        "half_size": False,
        "subset": True,
        "limit_train": None,
        "limit_eval": None,
        "skip_corrupt": False,
    }
    assert manifest["resample"] == "bilinear (Pillow, antialiased)"
    assert manifest["notes"]["images_without_attributes"] == 0
    assert str(tmp_path) not in (folder / "manifest.json").read_text()


def test_folder_and_zip_give_the_same_bytes(raw, tmp_path):
    folder = prepare("celeba", OPTIONS, raw, tmp_path / "folder")
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = zipped_celeba(raw, tmp_path / f"zip{packing}", packing)
        made = prepare("celeba", OPTIONS, archive, tmp_path / f"out{packing}")
        assert splits_of(made) == splits_of(folder)
        there, here = manifest_of(folder), manifest_of(made)
        assert there["notes"].pop("images").startswith("Read from a folder: there was no checksum")
        assert here["raw"].pop("images") == "img_align_celeba.zip"
        assert there["raw"].pop("images") == "img_align_celeba"
        assert here == there


def test_processes_zip_and_order(tmp_path):
    """Several chunks, two processes, the real command: the same as in one process."""
    raw = fake_celeba(tmp_path / "raw", train=150, eval_=66, test=0)
    archive = zipped_celeba(raw, tmp_path / "zip")
    one = prepare("celeba", OPTIONS, raw, tmp_path / "one", workers=1)
    options = ["--subset", "--image-size", 16, "--workers", 2]
    done = run_cli("celeba", "--raw", archive, "--out", tmp_path / "two", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert sorted(splits_of(one)) == ["eval_data.npz", "train_data.npz"]
    assert splits_of(tmp_path / "two" / "celeba16") == splits_of(one)


def test_same_input_same_files(raw, tmp_path):
    one = prepare("celeba", OPTIONS, raw, tmp_path / "one")
    two = prepare("celeba", OPTIONS, raw, tmp_path / "two")
    assert contents(one) == contents(two)


def test_complete(raw, tmp_path, capsys, small_official):
    folder = prepare("celeba", {"image_size": 16}, raw, tmp_path)
    assert capsys.readouterr().out.endswith("; all of CelebA\n")
    assert manifest_of(folder)["subset"] is None
    assert manifest_of(folder)["left_out"] == []


def test_limits(raw, tmp_path, small_official):
    options = {"image_size": 11, "limit_train": 5, "limit_eval": 1}
    folder = prepare("celeba", options, raw, tmp_path)
    assert manifest_of(folder)["subset"] == (
        "the first 5 of 8 train, the first 1 of 3 eval and 3 of 3 test images of CelebA"
    )
    assert manifest_of(folder)["left_out"] == [
        "3 train images: beyond --limit-train",
        "2 eval images: beyond --limit-eval",
    ]
    dataset = open_dataset(tmp_path, "celeba11", verify=True)
    assert dataset.array("train", "source").tolist() == [1, 2, 3, 4, 5]
    assert dataset.array("eval", "source").tolist() == [9]


def test_limit_of_a_subset_says_of_how_many(tmp_path, small_official):
    raw = fake_celeba(tmp_path / "raw")
    (raw / "img_align_celeba" / "000002.jpg").unlink()
    folder = prepare("celeba", {**OPTIONS, "limit_train": 2}, raw, tmp_path)
    assert "the first 2 of the 7 present of 8 train" in manifest_of(folder)["subset"]
    assert open_dataset(tmp_path, "celeba16").array("train", "source").tolist() == [1, 3]


def test_without_attributes_and_other_files_beside(tmp_path):
    raw = fake_celeba(tmp_path / "raw")
    (raw / "list_attr_celeba.txt").unlink()
    (raw / "img_align_celeba" / "Thumbs.db").write_bytes(b"x")
    (raw / "img_align_celeba" / "._000001.jpg").write_bytes(b"x")
    folder = prepare("celeba", OPTIONS, raw, tmp_path)
    with np.load(folder / "train_data.npz") as loaded:
        assert sorted(loaded) == ["data", "source"]


def test_subset_may_lack_attributes(tmp_path):
    raw = fake_celeba(tmp_path / "raw")
    lines = (raw / "list_attr_celeba.txt").read_text().splitlines()
    (raw / "list_attr_celeba.txt").write_text("\n".join(["13", lines[1], *lines[3:]]) + "\n")
    folder = prepare("celeba", OPTIONS, raw, tmp_path)
    with np.load(folder / "train_data.npz") as loaded:
        assert not loaded["attributes"][0].any()
        assert loaded["attributes"][1:].all()
    assert manifest_of(folder)["notes"]["images_without_attributes"] == 1


def test_centre_box_by_hand():
    assert centre_box(178, 218, 178) == (0, 20, 178, 198)
    # 38.5 rounds to 38 and 58.5 to 58: half to even, as Python and torchvision do.
    assert centre_box(178, 218, 101) == (38, 58, 139, 159)


@pytest.mark.parametrize("crop", [None, 178, 140, 101])
def test_decodes_as_torchvision_does(crop):
    transforms = pytest.importorskip("torchvision.transforms")
    image = Image.open(io.BytesIO(jpeg(1)))
    if crop is not None:
        image = transforms.CenterCrop(crop)(image)
    expected = transforms.Resize((64, 64))(image)
    ours = decode(jpeg(1), "x", Frame(64, crop))
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, np.asarray(expected).transpose(2, 0, 1))


def test_crop_is_recorded(raw, tmp_path):
    folder = prepare("celeba", {**OPTIONS, "crop": 178}, raw, tmp_path)
    assert manifest_of(folder)["crop"] == 178
    first = np.load(folder / "train_data.npz")["data"][0]
    assert np.array_equal(first, decode(jpeg(1), "x", Frame(16, 178)))


def test_skipped_images_are_listed_and_make_it_a_subset(tmp_path, capsys, small_official):
    raw = fake_celeba(tmp_path / "raw")
    images = raw / "img_align_celeba"
    (images / "000003.jpg").write_bytes(b"<html>")
    (images / "000010.jpg").write_bytes(jpeg(10)[:-1] + b"\0")
    for name in ("folder", "zip"):
        given = raw if name == "folder" else zipped_celeba(raw, tmp_path / "zip")
        options = {"image_size": 16, "skip_corrupt": True, "limit_train": 5}
        folder = prepare("celeba", options, given, tmp_path / f"out-{name}")
        sentence = (
            "the first 5 of 8 train, 3 of 3 eval and 3 of 3 test images of CelebA, less 2 that "
            "cannot be used"
        )
        assert capsys.readouterr().out == (
            f"{folder}: 4 train, 2 eval and 3 test images of 3 x 16 x 16; {sentence}\n"
        )
        dataset = open_dataset(folder.parent, folder.name, verify=True)
        assert dataset.subset == sentence
        assert dataset.array("train", "source").tolist() == [1, 2, 4, 5]
        assert len(dataset.array("train", "attributes")) == 4
        left_out = manifest_of(folder)["left_out"]
        assert left_out[0] == "3 train images: beyond --limit-train"
        assert left_out[1].startswith("000003.jpg (train): cannot be decoded as JPEG")
        assert left_out[2].startswith("000010.jpg (eval): cut short or damaged")
        assert len(left_out) == 3


def test_skipping_finds_bad_images_in_other_processes(tmp_path):
    raw = fake_celeba(tmp_path / "raw", train=150, eval_=0, test=0)
    (raw / "img_align_celeba" / "000100.jpg").write_bytes(b"")
    options = {**OPTIONS, "skip_corrupt": True}
    folder = prepare("celeba", options, raw, tmp_path / "out", workers=2)
    source = open_dataset(folder.parent, folder.name).array("train", "source")
    assert source.tolist() == [n for n in range(1, 151) if n != 100]


def test_half_size(tmp_path, capsys):
    """Files of half the size, the crop in published pixels; and only a train split."""
    raw = fake_celeba(tmp_path / "raw", train=8, eval_=0, test=0)
    halves = {n: jpeg(n, 89, 109) for n in range(1, 9)}
    for n, content in halves.items():
        (raw / "img_align_celeba" / f"{n:06d}.jpg").write_bytes(content)
    options = {**OPTIONS, "crop": 178, "half_size": True}
    folder = prepare("celeba", options, raw, tmp_path / "out")
    assert capsys.readouterr().out.endswith(" test images of CelebA at half the published size\n")
    dataset = open_dataset(folder.parent, folder.name)
    assert dataset.splits() == ["train"]
    with Image.open(io.BytesIO(halves[1])) as image:
        small = image.crop((0, 10, 89, 99)).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(dataset.images("train")[0], np.asarray(small).transpose(2, 0, 1))
    with pytest.raises(StudyError, match="89 x 109 pixels, .* have 178 x 218; --half-size takes"):
        prepare("celeba", {**OPTIONS, "crop": 178}, raw, tmp_path / "whole")


def test_half_size_of_whole_files_and_of_odd_crops(raw, tmp_path):
    with pytest.raises(StudyError, match="178 x 218 pixels, .* at half size have 89 x 109"):
        prepare("celeba", {**OPTIONS, "half_size": True}, raw, tmp_path)
    with pytest.raises(StudyError, match="half_size: the crop of 101 cannot be halved"):
        prepare("celeba", {**OPTIONS, "half_size": True, "crop": 101}, raw, tmp_path)


def test_the_first_10000_at_half_size(tmp_path):
    raw = real_data("celeba_first10k")
    options = {"image_size": 32, "crop": 178, "half_size": True, "subset": True, "limit_train": 65}
    prepare("celeba", options, raw, tmp_path, workers=1)
    dataset = open_dataset(tmp_path, "celeba32", verify=True)
    assert dataset.splits() == ["train"]
    assert dataset.array("train", "source").tolist() == list(range(1, 66))
    # The same faces as those of the published size, but for what the detour by half of it costs.
    whole = Frame(32, 178)
    content = (real_data("celeba") / "img_align_celeba" / "000001.jpg").read_bytes()
    difference = dataset.images("train")[0].astype(float) - decode(content, "x", whole)
    assert np.abs(difference).mean() < 4


def test_the_real_one(tmp_path):
    raw = real_data("celeba")
    options = {"image_size": 32, "subset": True, "limit_train": 70, "limit_eval": 10}
    folder = prepare("celeba", options, raw, tmp_path, workers=2)
    dataset = open_dataset(tmp_path, "celeba32", verify=True)
    assert dataset.splits() == ["train", "eval"]
    assert (dataset.count("train"), dataset.count("eval")) == (70, 10)
    assert "the first 70 of the 8,000 present of 162,770 train" in dataset.subset
    # The 67th image is of the second chunk.
    number = dataset.array("train", "source")[66]
    content = (raw / "img_align_celeba" / f"{number:06d}.jpg").read_bytes()
    expected = decode(content, "x", Frame(32, None))
    assert np.array_equal(dataset.images("train")[66], expected)
    lines = (raw / "list_attr_celeba.txt").read_text().splitlines()
    assert dataset.array("train", "attribute_names").tolist() == lines[1].split()
    rows = {line[:6]: [int(word) for word in line.split()[1:]] for line in lines[2:]}
    source, attributes = dataset.array("train", "source"), dataset.array("train", "attributes")
    for number, row in zip(source, attributes, strict=True):
        assert row.tolist() == rows.get(f"{number:06d}", [0] * 40)
    assert folder.name == "celeba32"


def test_the_real_partition():
    raw = real_data("celeba")
    codes = read_partition(raw / "list_eval_partition.txt")
    assert [int((codes == code).sum()) for code in (0, 1, 2)] == list(OFFICIAL.values())
    assert sum(OFFICIAL.values()) == 202_599
    attributes = read_attributes(raw / "list_attr_celeba.txt", codes)
    assert attributes.values.shape == (202_600, 40)
    assert (attributes.values[:, 0] != 0).sum() == 4559
