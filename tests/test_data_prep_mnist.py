"""MNIST and Fashion-MNIST: the IDX reader, the refusals, the whole path on the real files."""

import gzip
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep import idx, mnist
from data_prep.mnist import FASHION_MNIST, MNIST
from data_prep.prepare import prepare
from study.errors import StudyError
from tests.raw_data import IDX_CODES, fake_mnist, idx_bytes, real_data, refusal, splits_of

IMAGES = "train-images-idx3-ubyte"
SOURCES = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST}
each = pytest.mark.parametrize("dataset", SOURCES)


def fake_torchvision(monkeypatch, dataset, download):
    """What is asked of torchvision for this data set alone is answered by `download`."""
    fake = SimpleNamespace(**{SOURCES[dataset].torchvision: download})
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake)


@pytest.mark.parametrize("code", IDX_CODES)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (0, 5)])
def test_idx_reads_every_type(tmp_path, code, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    read = idx.parse(idx_bytes(array, code), tmp_path / "x")
    assert read.dtype == np.dtype(code)
    assert np.array_equal(read, array)


def test_idx_reads_packed_and_prefers_unpacked(tmp_path):
    packed, plain = idx_bytes(np.arange(3)), idx_bytes(np.arange(4))
    (tmp_path / "x.gz").write_bytes(gzip.compress(packed))
    assert idx.read_bytes(idx.find(tmp_path, "x")) == packed
    (tmp_path / "x").write_bytes(plain)
    assert idx.read_bytes(idx.find(tmp_path, "x")) == plain


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG....", "begins with 89 50 4e 47"),
        (b"\0\0\x07\1\0\0\0\0", "no IDX file"),
        (b"\0\0\x08\0", "no IDX file"),
        (b"\0\0\x08\3\0\0\0\1", "cut short in its header"),
        (idx_bytes(np.arange(9))[:-1], "16 bytes (unpacked), its header announces 17"),
        (idx_bytes(np.arange(9)) + b"!", "18 bytes (unpacked), its header announces 17"),
        (b"\0\0\x08\4" + b"\xff" * 16, "its header announces 340,282"),
    ],
)
def test_idx_refuses(tmp_path, content, complaint):
    with pytest.raises(StudyError) as error:
        idx.parse(content, tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)
    assert complaint in str(error.value)


@each
def test_wrong_checksum(tmp_path, capsys, dataset):
    raw = fake_mnist(tmp_path / "raw")
    line = refusal(capsys, dataset, "--raw", raw, out=tmp_path / "out")
    assert str(raw / IMAGES) in line
    assert SOURCES[dataset].md5[IMAGES] in line


def test_no_two_files_have_one_checksum():
    sums = [md5 for source in SOURCES.values() for md5 in source.md5.values()]
    assert len(set(sums)) == 8


def test_truncated_gzip(tmp_path, capsys):
    raw = fake_mnist(tmp_path / "raw")
    packed = gzip.compress((raw / IMAGES).read_bytes())
    (raw / IMAGES).unlink()
    (raw / f"{IMAGES}.gz").write_bytes(packed[:-12])
    line = refusal(capsys, "mnist", "--raw", raw, out=tmp_path / "out")
    assert f"{raw / IMAGES}.gz: no whole gzip file" in line


def test_gzip_that_is_none(tmp_path, capsys):
    raw = fake_mnist(tmp_path / "raw")
    (raw / IMAGES).rename(raw / f"{IMAGES}.gz")
    line = refusal(capsys, "mnist", "--raw", raw, out=tmp_path / "out")
    assert f"{raw / IMAGES}.gz: no whole gzip file" in line


def test_wrong_magic(tmp_path, capsys):
    raw = fake_mnist(tmp_path / "raw")
    (raw / IMAGES).write_bytes(b"<!DOCTYPE html>")
    assert f"{raw / IMAGES}: no IDX file" in refusal(
        capsys, "mnist", "--raw", raw, out=tmp_path / "out"
    )


def test_missing_file_and_missing_folder(tmp_path, capsys):
    raw = fake_mnist(tmp_path / "raw")
    (raw / IMAGES).unlink()
    line = refusal(capsys, "mnist", "--raw", raw, out=tmp_path / "out")
    assert f"{raw / IMAGES}: missing" in line
    line = refusal(capsys, "mnist", "--raw", tmp_path / "nowhere", out=tmp_path / "out")
    assert f"{tmp_path / 'nowhere'}: no such folder" in line


@each
def test_no_network(tmp_path, capsys, monkeypatch, dataset):
    def offline(*_, **__):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    fake_torchvision(monkeypatch, dataset, offline)
    line = refusal(capsys, dataset, out=tmp_path / "out")
    assert f"{SOURCES[dataset].title} cannot be downloaded" in line
    assert "--raw" in line
    assert all(name in line for name in MNIST.md5)


@each
def test_downloaded_files_are_checked_too_and_removed(tmp_path, capsys, monkeypatch, dataset):
    def downloads(root, download):
        assert download
        print("noise of a download")
        return SimpleNamespace(raw_folder=str(fake_mnist(tmp_path / root / "MNIST" / "raw")))

    fake_torchvision(monkeypatch, dataset, downloads)
    assert "MD5" in refusal(capsys, dataset, out=tmp_path / "out")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_is_told_of_a_download(tmp_path, capsys, monkeypatch, terminal):
    def downloads(root, download):
        print("noise of a download", file=sys.stderr)
        # Said before it begins, not once it is over.
        assert capsys.readouterr().err == "downloading MNIST (four files, 12 MB)\n" * terminal
        return SimpleNamespace(raw_folder=root)

    fake_torchvision(monkeypatch, "mnist", downloads)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert mnist.download(MNIST, tmp_path) == tmp_path
    assert capsys.readouterr() == ("", "")


def test_the_real_one(tmp_path):
    raw = real_data("mnist")
    folder = prepare("mnist", {}, raw, tmp_path / "one")
    assert folder.name == "mnist"
    train, held, test = (np.load(folder / f"{s}_data.npz") for s in ("train", "eval", "test"))
    assert [x["data"].shape for x in (train, held, test)] == [
        (50_000, 1, 28, 28),
        (10_000, 1, 28, 28),
        (10_000, 1, 28, 28),
    ]
    # The first labels of the two published files.
    assert train["labels"][:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert test["labels"][:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert train["labels"].dtype == np.int64
    assert (held["source"][0], held["source"][-1]) == (50_000, 59_999)
    everything = np.concatenate([train["data"], held["data"]])
    # The published mean of the training images, 0.1307.
    assert everything.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["image_shape"] == [1, 28, 28]
    assert manifest["subset"] is None
    again = prepare("mnist", {}, raw, tmp_path / "two")
    assert splits_of(again) == splits_of(folder)
    assert (again / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_the_real_fashion_mnist(tmp_path, capsys):
    folder = prepare("fashion_mnist", {}, real_data("fashion_mnist"), tmp_path)
    assert capsys.readouterr().out == (
        f"{folder}: 50,000 train, 10,000 eval and 10,000 test images of 1 x 28 x 28; "
        f"labels 0 to 9\n"
    )
    train, held, test = (np.load(folder / f"{s}_data.npz") for s in ("train", "eval", "test"))
    # The first labels of the two published files; 0 is a T-shirt, 9 an ankle boot.
    assert train["labels"][:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    assert test["labels"][:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    everything = np.concatenate([train["data"], held["data"]])
    # The published mean of the training images, 0.2860.
    assert everything.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    labels = np.concatenate([train["labels"], held["labels"]])
    assert np.bincount(labels).tolist() == [6000] * 10
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["class_names"][9] == "Ankle boot"
    assert manifest["raw"]["md5_unpacked"] == FASHION_MNIST.md5
    # MNIST's files have the same names.
    with pytest.raises(StudyError, match="MD5"):
        prepare("mnist", {}, real_data("fashion_mnist"), tmp_path / "other")
