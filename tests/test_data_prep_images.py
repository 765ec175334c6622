"""A user's own folder of images: files, splits, classes, what is decoded and what is refused."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from data_prep.decoding import BadImage
from data_prep.picture import Frame, decode, jpeg_is_whole
from data_prep.prepare import prepare
from reproduce import parser, prepare_data
from study.datasets import open_dataset
from study.errors import StudyError
from study.expansion import load_study
from tests.made import run_file, study_config
from tests.raw_data import jpeg, real_data, refusal, run_cli, splits_of

SIXTEEN = Frame(16, "square", 3)
OPTIONS = {"image_size": 16}


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 24), seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.frombytes(mode, size, array.tobytes())


def packed(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def made(root, names):
    """Small pictures, each of its own content, under these names."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(picture(seed=seed)))
    return root


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture
def flat(tmp_path):
    return made(tmp_path / "raw", [f"{n:03d}.png" for n in range(20)])


def test_drawn_splits_are_whole_and_of_the_seed(flat, tmp_path, capsys):
    folder = prepare("folder", {**OPTIONS, "eval": 0.2, "test": 3}, flat, tmp_path / "out")
    assert folder.name == "folder16"
    assert capsys.readouterr().out == (
        f"{folder}: 13 train, 4 eval and 3 test images of 3 x 16 x 16; all images of the folder\n"
    )
    dataset = open_dataset(folder.parent, folder.name, verify=True)
    sources = [dataset.array(split, "source") for split in dataset.splits()]
    assert all((np.diff(source) > 0).all() for source in sources)
    assert sorted(np.concatenate(sources).tolist()) == list(range(20))
    for split in dataset.splits():
        names = dataset.array(split, "file_names")
        for image, source, name in zip(
            dataset.images(split), dataset.array(split, "source"), names, strict=True
        ):
            assert name == f"{source:03d}.png"
            expected = decode((flat / str(name)).read_bytes(), "x", SIXTEEN)
            assert np.array_equal(image, expected)
    assert dataset.array("train", "labels") is None
    assert manifest_of(folder)["subset"] is None
    again = prepare("folder", {**OPTIONS, "eval": 4, "test": 3}, flat, tmp_path / "again")
    assert splits_of(again) == splits_of(folder)
    other = prepare("folder", {**OPTIONS, "eval": 4, "test": 3, "seed": 1}, flat, tmp_path / "one")
    assert splits_of(other) != splits_of(folder)


def test_split_folders_classes_and_limits(tmp_path):
    names = [f"{s}/{c}/{n}.png" for s in ("train", "val") for c in ("dog", "cat") for n in range(4)]
    raw = made(tmp_path / "raw", [*names, "train/cat/deep/9.png"])
    for name in ("train/.hidden.png", "train/cat/notes.txt", "readme.md"):
        (raw / name).write_text("no image")
    folder = prepare("folder", {**OPTIONS, "channels": 1}, raw, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out", "folder16")
    assert dataset.splits() == ["train", "eval"]
    assert dataset.shape == (1, 16, 16)
    assert manifest_of(folder)["class_names"] == ["cat", "dog"]
    assert manifest_of(folder)["notes"]["files_that_are_no_images"] == 2
    found = dict(
        zip(dataset.array("train", "file_names"), dataset.array("train", "labels"), strict=True)
    )
    assert found["train/cat/deep/9.png"] == 0
    assert {name: label for name, label in found.items() if "/dog/" in name} == {
        f"train/dog/{n}.png": 1 for n in range(4)
    }
    folder = prepare("folder", {**OPTIONS, "limit_train": 5}, raw, tmp_path / "limited")
    limited = open_dataset(tmp_path / "limited", "folder16")
    # Drawn from all of them: the first five would all be cats.
    assert set(limited.array("train", "labels").tolist()) == {0, 1}
    assert limited.subset == "5 of 9 train and 8 of 8 eval images of the folder"
    assert manifest_of(folder)["left_out"] == ["4 train images: beyond --limit-train"]


def test_only_train_can_be_prepared_and_opened(flat, tmp_path):
    prepare("folder", {**OPTIONS, "eval": 0, "test": 0}, flat, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out", "folder16", verify=True)
    assert dataset.splits() == ["train"]
    with pytest.raises(StudyError, match=r"folder16: no 'eval' split; it has train$"):
        dataset.images("eval")


def test_skipped_files_are_listed_and_the_others_stay_where_they_were(flat, tmp_path, capsys):
    whole = prepare("folder", {**OPTIONS, "eval": 4, "test": 0}, flat, tmp_path / "whole")
    before = open_dataset(whole.parent, whole.name).array("eval", "source").tolist()
    bad = flat / f"{before[0]:03d}.png"
    bad.write_bytes(b"no picture")
    capsys.readouterr()
    command = ["folder", "--raw", flat, "--image-size", 16, "--eval", 4, "--test", 0]
    line = refusal(capsys, *command, out=tmp_path / "out")
    assert line.startswith(f"data_prep: {bad}: no picture of a known kind (JPEG, ")
    done = run_cli(*command, "--skip-corrupt", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout.endswith(
        "16 of 16 train and 4 of 4 eval images of the folder, less 1 that cannot be used\n"
    )
    folder = tmp_path / "out" / "folder16"
    dataset = open_dataset(folder.parent, folder.name)
    assert dataset.array("eval", "source").tolist() == before[1:]
    assert manifest_of(folder)["left_out"][0].startswith(f"{bad.name} (eval): no picture of a")
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    for path in flat.iterdir():
        path.write_bytes(b"")
    line = refusal(capsys, *command, "--skip-corrupt", out=tmp_path / "none")
    assert "folder train: none of the 16 images can be used; the first: no picture" in line


def test_another_folder_is_not_taken_for_the_one_prepared(flat, tmp_path, capsys):
    prepare("folder", OPTIONS, flat, tmp_path / "out")
    prepare("folder", OPTIONS, flat, tmp_path / "out")
    assert capsys.readouterr().out.endswith("already prepared\n")
    # A study that goes on where the raw files are no longer at hand.
    prepare("folder", OPTIONS, None, tmp_path / "out")
    made(flat, ["more.png"])
    with pytest.raises(StudyError, match="prepared from other files than .*; choose another"):
        prepare("folder", OPTIONS, flat, tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "options", "complaint"),
    [
        ([], [], "no image in it; files that end in .jpg, .jpeg, .png"),
        (["test/1.png"], [], "test/ without train/"),
        (["train/1.png", "2.png"], [], "2.png: stands beside train/, in no split"),
        (["train/1.png", "val/1.png", "eval/1.png"], [], "eval/ and val/ both name the eval"),
        (["train/1.png", "test/1.png"], ["--eval", 1], "leave out --eval"),
        (["1.png", "2.png"], [], "2 images are too few for a share of 0.1 as eval"),
        (["1.png", "2.png"], ["--eval", 2, "--test", 0], "leave none to train on"),
        (["train/1.png"], ["--limit-train", 2], "--limit-train asks for 2 images, 1 of that"),
        (["1.png"], ["--eval", 0, "--test", 0, "--crop", 30], "40 x 24 pixels, 30 each way are"),
        (["1.png"], ["--eval", 1.5], "eval: a whole number of images or a share between 0 and 1"),
        (["1.png"], ["--crop", 12], "crop: 'square', 'none' or a whole number from 16"),
        (["1.png"], ["--channels", 2], "channels: Input should be 1 or 3"),
    ],
)
def test_refused(tmp_path, capsys, names, options, complaint):
    (tmp_path / "raw").mkdir()
    raw = made(tmp_path / "raw", names)
    command = ["folder", "--raw", raw, "--image-size", 16, *options]
    assert complaint in refusal(capsys, *command, out=tmp_path / "out")


def test_links(flat, tmp_path, capsys):
    (flat / "lost.png").symlink_to(tmp_path / "nowhere.png")
    command = ["folder", "--raw", flat, "--image-size", 16, "--eval", 0, "--test", 0]
    line = refusal(capsys, *command, out=tmp_path / "out")
    assert line == f"data_prep: {flat / 'lost.png'}: No such file or directory\n"
    (flat / "ring").symlink_to(flat)
    assert "ring: a link to a folder that it lies in" in refusal(
        capsys, *command, out=tmp_path / "out"
    )


def test_name_that_is_not_utf8(flat, tmp_path, capsys):
    try:
        (flat / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    command = ["folder", "--raw", flat, "--image-size", 16]
    line = refusal(capsys, *command, out=tmp_path / "out")
    assert f"{flat}: the file name '\\udcff.png' is not UTF-8" in line


def test_a_study_prepares_it(flat, tmp_path, capsys):
    """The data stage of reproduce.py with the options of a study file, on one's own images."""
    options = {"image_size": 28, "channels": 1, "crop": "none", "eval": 0.2, "test": 2}
    for path in flat.iterdir():
        path.write_bytes(packed(picture(size=(40, 30))))
    run_file(tmp_path, dataset="mine")
    data = {"dataset": "folder", "name": "mine", "options": options}
    study = study_config({"vae": "run.json"}, data=data, split="test")
    (tmp_path / "own.json").write_text(json.dumps(study))
    words = [str(tmp_path / "own.json"), "--raw", str(flat), "--data", str(tmp_path / "data")]
    arguments = parser().parse_args(words)
    prepare_data(load_study(arguments.study), arguments)
    assert "14 train, 4 eval and 2 test images of 1 x 28 x 28" in capsys.readouterr().out


def test_upright_as_exif_says():
    image = picture(size=(40, 24))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right
    turned = decode(packed(image, exif=exif), "x", SIXTEEN)
    by_hand = decode(packed(image.transpose(Image.Transpose.ROTATE_270)), "x", SIXTEEN)
    assert np.array_equal(turned, by_hand)
    assert not np.array_equal(turned, decode(packed(image), "x", SIXTEEN))


def test_crops():
    image = picture(size=(40, 24))
    left = decode(packed(image.crop((8, 0, 32, 24))), "x", Frame(16, "none", 3))
    assert np.array_equal(decode(packed(image), "x", SIXTEEN), left)
    inner = decode(packed(image.crop((10, 2, 30, 22))), "x", Frame(16, "none", 3))
    assert np.array_equal(decode(packed(image), "x", Frame(16, 20, 3)), inner)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "P", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_modes(mode, channels):
    """One plain colour comes out as itself, and half transparent as half white."""
    wanted = {"LA": 178, "RGBA": 178}.get(mode, 255 if mode == "1" else 100)
    plain: dict = {"1": 1, "LA": (100, 127), "RGBA": (100, 100, 100, 127), "I;16": 100 * 257}
    plain |= {"CMYK": (155, 155, 155, 0), "P": 0, "RGB": (100, 100, 100)}
    image = Image.new(mode, (20, 20), plain.get(mode, 100))
    if mode == "P":
        image.putpalette([100, 100, 100])
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    array = decode(packed(image, kind), "x", Frame(16, "square", channels))
    assert (array.dtype, array.shape) == (np.uint8, (channels, 16, 16))
    assert np.abs(array.astype(int) - wanted).max() <= 1


def test_png_of_16_bits_and_transparent_palette():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    array = decode(packed(Image.fromarray(values)), "x", Frame(16, "none", 1))
    assert np.array_equal(array[0], (values / 257).round().astype(np.uint8))
    image = Image.new("P", (16, 16), 0)
    image.putpalette([0, 0, 0])
    assert (decode(packed(image, transparency=0), "x", SIXTEEN) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_kinds_of_files_and_files_cut_short(kind):
    content = packed(picture(size=(64, 64)), kind)
    assert decode(content, "x", SIXTEEN).shape == (3, 16, 16)
    with pytest.raises(BadImage, match="^x: "):
        decode(content[: len(content) // 2], "x", SIXTEEN)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no picture of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known kind"),
        (packed(Image.new("F", (20, 20)), "TIFF"), "its colours are F"),
        (packed(Image.new("I", (20, 20)), "TIFF"), "its colours are I"),
        (packed(picture(size=(15, 90))), "15 x 90 pixels, 16 each way are wanted"),
        (
            packed(picture(), "GIF", save_all=True, append_images=[picture(seed=1)]),
            "holds 2 pictures, one is wanted",
        ),
    ],
    ids=["empty", "eps", "float", "int32", "small", "animated"],
)
def test_pictures_that_are_refused(content, complaint):
    with pytest.raises(BadImage, match=complaint):
        decode(content, "x", SIXTEEN)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_end_of_a_jpeg(options):
    exif = Image.Exif()
    # A preview in the file has an end marker of its own.
    exif[0x9286] = jpeg(2, 32, 32)
    content = packed(picture(size=(64, 64)), "JPEG", exif=exif, **options)
    assert jpeg_is_whole(content)
    assert jpeg_is_whole(content + b"\xff\xda what a phone adds")
    assert not jpeg_is_whole(content[:-2])
    assert not jpeg_is_whole(content[: len(content) * 3 // 4].ljust(len(content), b"\0"))
    with pytest.raises(BadImage, match="cut short or damaged"):
        decode(content[: len(content) * 3 // 4].ljust(len(content), b"\0"), "x", SIXTEEN)


def test_real_faces(tmp_path):
    raw = real_data("celeba") / "img_align_celeba"
    options = {"image_size": 32, "limit_train": 90, "limit_eval": 10, "limit_test": 10}
    folder = prepare("folder", options, raw, tmp_path, workers=2)
    dataset = open_dataset(tmp_path, folder.name, verify=True)
    name = str(dataset.array("train", "file_names")[80])
    with Image.open(raw / name) as image:
        square = image.crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(dataset.images("train")[80], np.asarray(square).transpose(2, 0, 1))
