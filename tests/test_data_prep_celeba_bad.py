"""CelebA: each thing that may be wrong with the raw files costs one line that names it."""

import builtins
import errno
import io
import os
import zipfile
from pathlib import Path

import pytest

from data_prep.celeba_index import OFFICIAL
from tests.raw_data import fake_celeba, jpeg, refusal, run_cli, zipped_celeba

SUBSET = ["--subset", "--image-size", 16]
PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"


@pytest.fixture
def raw(tmp_path):
    return fake_celeba(tmp_path / "raw")


@pytest.fixture
def refuse(capsys, raw, tmp_path):
    """Prepares `raw` and returns the complaint."""
    return lambda *options: refusal(
        capsys, "celeba", "--raw", raw, *(options or SUBSET), out=tmp_path / "out"
    )


def image(raw, number):
    return raw / "img_align_celeba" / f"{number:06d}.jpg"


def change_line(path, index, text):
    lines = path.read_text().splitlines()
    lines[index] = text
    path.write_text("\n".join(lines) + "\n")


def test_official_counts_are_demanded(raw, refuse):
    line = refuse("--image-size", 16)
    assert f"{raw / PARTITION}: lists 8 images as train (0), the official one 162,770" in line
    assert "--subset" in line


def test_more_images_than_the_official_ones(raw, refuse, monkeypatch):
    monkeypatch.setitem(OFFICIAL, "train", 7)
    assert f"{raw / PARTITION}: lists 8 images as train" in refuse()


@pytest.mark.parametrize("name", [PARTITION, "img_align_celeba"])
def test_missing(raw, refuse, name):
    (raw / name).rename(raw / "elsewhere")
    assert f"{raw / name}: " in refuse()


@pytest.mark.parametrize("name", [PARTITION, ATTRIBUTES, "img_align_celeba/000003.jpg"])
def test_unreadable(raw, refuse, name):
    (raw / name).chmod(0)
    if os.access(raw / name, os.R_OK):
        pytest.skip("this user may read anything")
    assert f"{raw / name}: Permission denied" in refuse()


@pytest.mark.parametrize("name", [PARTITION, ATTRIBUTES, "img_align_celeba/000003.jpg"])
def test_unreadable_for_root_too(raw, refuse, monkeypatch, name):
    real_open = io.open

    def denying(file, *arguments, **kwargs):
        if not isinstance(file, int) and Path(os.fsdecode(file)) == raw / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real_open(file, *arguments, **kwargs)

    # pathlib takes the one, everything else the other.
    monkeypatch.setattr(io, "open", denying)
    monkeypatch.setattr(builtins, "open", denying)
    assert refuse() == f"data_prep: {raw / name}: Permission denied\n"


def test_missing_raw_folder(capsys, tmp_path):
    missing = tmp_path / "nowhere"
    line = refusal(capsys, "celeba", "--raw", missing, *SUBSET, out=tmp_path / "out")
    assert f"{missing}: no such folder" in line


def test_no_images(raw, refuse):
    for path in (raw / "img_align_celeba").iterdir():
        path.unlink()
    assert f"{raw / 'img_align_celeba'}: no image in it" in refuse()


def test_missing_image_without_subset(raw, refuse, monkeypatch):
    for name, count in (("train", 8), ("eval", 3), ("test", 3)):
        monkeypatch.setitem(OFFICIAL, name, count)
    image(raw, 5).unlink()
    image(raw, 7).unlink()
    line = refuse("--image-size", 16)
    assert f"{image(raw, 5)}: missing; {PARTITION} lists 2 images" in line
    assert "--subset" in line


def test_missing_attribute_row_without_subset(raw, refuse, monkeypatch):
    for name, count in (("train", 8), ("eval", 3), ("test", 3)):
        monkeypatch.setitem(OFFICIAL, name, count)
    lines = (raw / ATTRIBUTES).read_text().splitlines()
    (raw / ATTRIBUTES).write_text("\n".join(["13", *lines[1:6], *lines[7:]]) + "\n")
    assert f"{raw / ATTRIBUTES}: no row for 000005.jpg" in refuse("--image-size", 16)


def test_truncated_jpeg(raw, refuse):
    content = image(raw, 3).read_bytes()
    image(raw, 3).write_bytes(content[: len(content) // 2])
    assert f"{image(raw, 3)}: cut short or damaged" in refuse()


@pytest.mark.parametrize(("lost", "end"), [(0.5, "00 00"), (0.0, "FF 00")])
def test_jpeg_that_ends_in_zeros(raw, refuse, lost, end):
    """As long as it should be, but the rest never arrived: half of it, or only the last byte."""
    content = image(raw, 3).read_bytes()
    arrived = len(content) - max(1, int(lost * len(content)))
    image(raw, 3).write_bytes(content[:arrived].ljust(len(content), b"\0"))
    line = refuse()
    assert f"{image(raw, 3)}: cut short or damaged, a JPEG ends with the bytes FF D9" in line
    assert f"this one with {end};" in line


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xd8\xff\xe0 no more"])
def test_no_jpeg(raw, refuse, content):
    image(raw, 3).write_bytes(content)
    assert f"{image(raw, 3)}: cannot be decoded as JPEG" in refuse()


def test_size_and_colours(raw, refuse):
    good = image(raw, 3).read_bytes()
    image(raw, 3).write_bytes(jpeg(3, 89, 109))
    assert f"{image(raw, 3)}: 89 x 109 pixels" in refuse()
    image(raw, 3).write_bytes(jpeg(3, mode="L"))
    assert f"{image(raw, 3)}: its colours are L, RGB" in refuse()
    image(raw, 3).write_bytes(jpeg(3, mode="CMYK"))
    assert f"{image(raw, 3)}: its colours are CMYK" in refuse()
    image(raw, 3).write_bytes(good)


def test_image_not_in_the_partition(raw, refuse):
    image(raw, 99).write_bytes(jpeg(99))
    assert f"{image(raw, 99)}: not in {raw / PARTITION}" in refuse()


def test_image_of_an_odd_name(raw, refuse):
    (raw / "img_align_celeba" / "000001 (1).jpg").write_bytes(jpeg(1))
    assert f"{raw / 'img_align_celeba'}: '000001 (1).jpg' is no image of CelebA" in refuse()


@pytest.mark.parametrize(
    "text", ["000002.jpg", "000002.jpg 3", "000002.jpg 0 0", "2.jpg 0", "a,b", "\x00\xff 0"]
)
def test_malformed_partition_line(raw, refuse, text):
    change_line(raw / PARTITION, 1, text)
    assert f"{raw / PARTITION}: line 2: " in refuse()


def test_partition_twice_and_empty(raw, refuse):
    change_line(raw / PARTITION, 1, "000001.jpg 0")
    assert f"{raw / PARTITION}: line 2: 000001.jpg stands twice" in refuse()
    (raw / PARTITION).write_text("\n")
    assert f"{raw / PARTITION}: empty" in refuse()


@pytest.mark.parametrize(
    ("index", "text", "complaint"),
    [
        (0, "many", "line 1: the number of rows"),
        (0, "15", "14 rows, its first line announces 15"),
        (1, "Bald Bangs", "line 2: 40 different attribute names"),
        (4, "000003.jpg 1 -1", "line 5: "),
        (4, "000003.jpg" + " 1" * 39 + " 0", "line 5: "),
        (4, "000003.png" + " 1" * 40, "line 5: "),
        (4, "000002.jpg" + " 1" * 40, "line 5: 000002.jpg stands twice"),
        (4, "000099.jpg" + " 1" * 40, "line 5: 000099.jpg is not in"),
    ],
)
def test_malformed_attributes(raw, refuse, index, text, complaint):
    change_line(raw / ATTRIBUTES, index, text)
    assert f"{raw / ATTRIBUTES}: {complaint}" in refuse()


def test_empty_attributes(raw, refuse):
    (raw / ATTRIBUTES).write_text("")
    assert f"{raw / ATTRIBUTES}: line 1: " in refuse()


def test_limit_beyond_what_is_there(raw, refuse):
    line = refuse(*SUBSET, "--limit-eval", 4)
    assert f"{raw / 'img_align_celeba'}: --limit-eval asks for 4 images, 3 of" in line


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--image-size", "4"], "image_size: a whole number from 11 (the window of SSIM)"),
        (["--image-size", "big"], "image_size: Input should be a valid integer"),
        (["--image-size", "16", "--crop", "179"], "crop: "),
        (["--image-size", "16", "--crop", "half"], "'none' or a whole number from 1 to 178"),
        (["--image-size", "16", "--limit-train", "0"], "limit_train: "),
        (["--image-size", "16", "--workers", "0"], "--workers: 0: a whole number"),
        (["--subset"], "--image-size"),
    ],
)
def test_options(refuse, options, complaint):
    assert complaint in refuse(*options)


class TestZip:
    """The same with the published zip."""

    @pytest.fixture
    def archive(self, raw, tmp_path):
        return zipped_celeba(raw, tmp_path / "zipped") / "img_align_celeba.zip"

    @pytest.fixture
    def refuse(self, capsys, archive, tmp_path):
        command = ["celeba", "--raw", archive.parent, *SUBSET]
        return lambda: refusal(capsys, *command, out=tmp_path / "out")

    def test_cut_short(self, archive, refuse):
        content = archive.read_bytes()
        archive.write_bytes(content[: len(content) * 2 // 3])
        assert f"{archive}: no whole zip file" in refuse()

    def test_no_zip(self, archive, refuse):
        archive.write_bytes(b"<html>too many downloads</html>")
        assert f"{archive}: no whole zip file" in refuse()

    def test_damaged_member(self, archive, refuse):
        content = bytearray(archive.read_bytes())
        with zipfile.ZipFile(archive) as opened:
            start = opened.getinfo("img_align_celeba/000004.jpg").header_offset
        content[start + 400] ^= 0xFF
        archive.write_bytes(content)
        line = refuse()
        assert f"{archive}: img_align_celeba/000004.jpg: damaged (its checksum is wrong)" in line

    def test_member_that_does_not_begin(self, archive, refuse):
        content = bytearray(archive.read_bytes())
        with zipfile.ZipFile(archive) as opened:
            start = opened.getinfo("img_align_celeba/000004.jpg").header_offset
        content[start : start + 4] = b"oops"
        archive.write_bytes(content)
        assert f"{archive}: img_align_celeba/000004.jpg: damaged" in refuse()

    def test_truncated_jpeg_in_it(self, archive, refuse):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("img_align_celeba/000001.jpg", jpeg(1)[:900])
        assert f"{archive}: img_align_celeba/000001.jpg: cut short or damaged" in refuse()

    def test_no_image_in_it(self, archive, refuse):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("000001.jpg", jpeg(1))
        assert f"{archive}: no image in it" in refuse()

    def test_the_same_image_twice(self, archive, refuse):
        with (
            pytest.warns(UserWarning, match="Duplicate"),
            zipfile.ZipFile(archive, "a") as opened,
        ):
            opened.writestr("img_align_celeba/000002.jpg", jpeg(2))
        assert f"{archive}: 000002.jpg stands in it twice" in refuse()

    def test_unusual_packing(self, archive, refuse):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as opened:
            opened.writestr("img_align_celeba/000001.jpg", jpeg(1))
        assert f"{archive}: img_align_celeba/000001.jpg is encrypted or packed" in refuse()


def test_a_bad_image_in_another_process(tmp_path):
    raw = fake_celeba(tmp_path / "raw", train=140, eval_=0, test=0)
    image(raw, 100).write_bytes(image(raw, 100).read_bytes()[:700])
    command = ["celeba", "--raw", raw, *SUBSET, "--workers", 2]
    done = run_cli(*command, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"data_prep: {image(raw, 100)}: cut short or damaged, ")
    assert list((tmp_path / "out").iterdir()) == []
