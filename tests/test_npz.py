"""The `.npz` reader, whole-file writes and prepared data sets."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from study import files
from study.datasets import open_dataset
from study.errors import StudyError
from study.npz import check_images, open_array
from tests import made


def stored(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, "<U7", np.bool_])
def test_stored_members_are_mapped_and_equal(dtype, tmp_path: Path) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    path = stored(
        tmp_path / "a.npz", first=np.zeros(7), data=array, fortran=np.asfortranarray(array)
    )
    for key in ("data", "fortran"):
        mapped = open_array(path, key)
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == array.dtype
        assert np.array_equal(mapped, array)


def test_mapping_is_copy_on_write(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npz", data=np.zeros(9, np.uint8))
    before = path.read_bytes()
    open_array(path, "data")[:] = 1
    assert path.read_bytes() == before


def test_compressed_members_are_loaded(tmp_path: Path) -> None:
    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.savez_compressed(tmp_path / "a.npz", data=array)
    loaded = open_array(tmp_path / "a.npz", "data")
    assert not isinstance(loaded, np.memmap)
    assert np.array_equal(loaded, array)


def test_zip64_members_are_found(tmp_path: Path) -> None:
    """What data_prep writes: an extra field in the local header that the directory has not."""
    folder = made.dataset(tmp_path)
    with zipfile.ZipFile(folder / "train_data.npz") as archive:
        info = archive.getinfo("data.npy")
    extra = (folder / "train_data.npz").read_bytes()[info.header_offset + 28 :][:2]
    assert int.from_bytes(extra, "little") > 0
    assert np.array_equal(
        open_array(folder / "train_data.npz", "data"), made.images(70, (1, 28, 28), 0)
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_object_arrays_are_refused_and_run_nothing(save, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    save(tmp_path / "a.npz", data=np.array([made.Runs(sign)], dtype=object))
    with pytest.raises(StudyError, match=r"a.npz: array 'data' cannot be read: .*(O|o)bject array"):
        open_array(tmp_path / "a.npz", "data")
    assert not sign.exists()
    pickle.loads(pickle.dumps(made.Runs(sign)))
    assert sign.exists(), "the test's own trap works"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "not an .npz file, or cut short"),
        (lambda b: b"", "not an .npz file"),
        (lambda b: b"hello", "not an .npz file"),
        (lambda b: b.replace(b"NUMPY", b"NUMBY"), "cannot be read"),
        (lambda b: b.replace(b"(9,)", b"(8,)"), "header and its length disagree"),
    ],
    ids=["cut", "empty", "text", "no npy", "wrong shape"],
)
def test_damaged_files(damage, message: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npz", data=np.zeros(9, np.uint8))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StudyError, match="a.npz") as error:
        open_array(path, "data")
    assert message in str(error.value)


def test_damaged_compressed_file(tmp_path: Path) -> None:
    """Every byte flipped in turn: right values, or one StudyError, never another error."""
    path = tmp_path / "a.npz"
    array = np.arange(40, dtype=np.uint8)
    np.savez_compressed(path, data=array)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            open_array(path, "data")
        except StudyError:
            refused += 1
    assert refused > len(whole) // 4


def test_missing_file_and_key(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npz", data=np.zeros(3), labels=np.zeros(3))
    with pytest.raises(StudyError, match="no array 'date' in it; it has data, labels"):
        open_array(path, "date")
    with pytest.raises(StudyError, match="b.npz: No such file"):
        open_array(tmp_path / "b.npz", "data")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 1, 8, 8), np.float32), "dtype float32; images are wanted as uint8"),
        (np.zeros((4, 8, 8), np.uint8), "shape 4 x 8 x 8; N x C x H x W"),
        (np.zeros((4, 8, 8, 3), np.uint8), "shape 4 x 8 x 8 x 3"),
        (np.zeros((0, 1, 8, 8), np.uint8), "shape 0 x 1 x 8 x 8"),
    ],
)
def test_what_is_no_image_array(array: np.ndarray, message: str) -> None:
    with pytest.raises(StudyError, match=f"x.npz: {message}"):
        check_images(array, "x.npz")


def change_manifest(folder: Path, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_dataset_opens_and_answers(tmp_path: Path) -> None:
    made.dataset(tmp_path, subset="70 of 100")
    tiny = open_dataset(tmp_path, "tiny", verify=True)
    assert (tiny.shape, tiny.splits(), tiny.count("eval")) == ((1, 28, 28), ["train", "eval"], 25)
    assert tiny.subset == "70 of 100"
    assert tiny.array("train", "labels") is None
    with pytest.raises(StudyError, match="no 'test' split; it has train, eval"):
        tiny.images("test")


def test_verify_finds_one_changed_byte(tmp_path: Path) -> None:
    path = made.dataset(tmp_path) / "eval_data.npz"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    open_dataset(tmp_path, "tiny")
    with pytest.raises(StudyError, match=r"eval_data.npz: SHA-256 \w+, the manifest says"):
        open_dataset(tmp_path, "tiny", verify=True)


def test_bad_datasets(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="tiny: no prepared data set there"):
        open_dataset(tmp_path, "tiny")
    folder = made.dataset(tmp_path)
    with open(folder / "train_data.npz", "ab") as file:
        file.write(b"x")
    with pytest.raises(StudyError, match=r"train_data.npz: \d+ bytes, the manifest says"):
        open_dataset(tmp_path, "tiny")
    (folder / "train_data.npz").unlink()
    with pytest.raises(StudyError, match="train_data.npz: missing, though the manifest"):
        open_dataset(tmp_path, "tiny")
    change_manifest(folder, lambda m: m["splits"]["eval"].pop("sha256"))
    with pytest.raises(StudyError, match=r"manifest.json: splits.eval.sha256: this key is missing"):
        open_dataset(tmp_path, "tiny")
    change_manifest(folder, lambda m: m.pop("splits"))
    with pytest.raises(StudyError, match="manifest.json: splits: this key is missing"):
        open_dataset(tmp_path, "tiny")
    change_manifest(folder, lambda m: m.update(format=99))
    with pytest.raises(StudyError, match="format 99, this version reads 1"):
        open_dataset(tmp_path, "tiny")


def test_images_that_are_not_the_manifests(tmp_path: Path) -> None:
    folder = made.dataset(tmp_path)
    change_manifest(folder, lambda m: m.update(image_shape=[1, 32, 32]))
    with pytest.raises(StudyError, match=r"shape \(70, 1, 28, 28\), the manifest says"):
        open_dataset(tmp_path, "tiny").images("train")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError), files.written_whole(path) as file:
        file.write("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_torch_takes_a_mapped_batch_without_a_warning(tmp_path: Path, recwarn) -> None:
    from train.dataset import ImageDataset, to_unit

    made.dataset(tmp_path)
    images = open_dataset(tmp_path, "tiny").images("train")
    dataset = ImageDataset(tmp_path / "tiny" / "train_data.npz")
    batch = dataset.__getitems__([3, 0, 5])
    want = torch.from_numpy(np.array(images[[3, 0, 5]])).float() / 255
    assert torch.equal(torch.stack([item["data"] for item in batch]), want)
    assert torch.equal(dataset[3]["data"], want[0])
    assert to_unit(images[:2]).max() <= 1
    assert not recwarn.list


def test_scaling_gives_the_floats_stock_pythae_gets() -> None:
    """Upstream's scripts divide in float64 and cast; one float32 division is the same."""
    from train.dataset import to_unit

    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_unit(levels).numpy(), (levels / 255.0).astype(np.float32))
