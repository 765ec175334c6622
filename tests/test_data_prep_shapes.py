"""Shapes: the report's numbers, and geometry worked out by hand."""

import json

import numpy as np
import pytest

from data_prep.prepare import prepare
from data_prep.shapes import NAMES, configurations, first_of_each, render

CIRCLE, SQUARE, TRIANGLE = (NAMES.index(name) for name in ("circle", "square", "triangle"))


@pytest.fixture(scope="module")
def everything():
    factors = configurations()
    return factors, *render(factors)


def draw(shape, size, x, y):
    images, clipped = render(np.array([[shape, size, x, y]]))
    return images[0, 0] // 255, bool(clipped[0])


def test_counts_of_the_report(everything):
    factors, images, clipped = everything
    assert len(factors) == len(np.unique(factors, axis=0)) == 8002
    assert np.bincount(factors[:, 0]).tolist() == [2780, 3084, 2138]
    assert len({image.tobytes() for image in images}) == 7824 == first_of_each(images).sum()
    assert clipped.sum() == 304
    assert (factors[clipped, 0] == SQUARE).all()
    whole = images[~clipped]
    assert len({image.tobytes() for image in whole}) == 7527


def test_triangles_12_and_13_are_the_same_images(everything):
    factors, images, _ = everything
    twelve, thirteen = (
        images[(factors[:, 0] == TRIANGLE) & (factors[:, 1] == size)] for size in (12, 13)
    )
    assert len(twelve) == 171
    assert np.array_equal(twelve, thirteen)


def test_images_are_black_and_white(everything):
    _, images, _ = everything
    assert images.dtype == np.uint8
    assert images.shape == (8002, 1, 28, 28)
    assert np.unique(images).tolist() == [0, 255]


def test_square_by_hand():
    image, clipped = draw(SQUARE, 7, 3, 20)
    assert image.sum() == 49
    assert image[20:27, 3:10].all()
    assert not clipped


def test_square_at_the_far_bound_is_clipped():
    image, clipped = draw(SQUARE, 7, 22, 21)
    assert image.sum() == 6 * 7
    assert image[21:, 22:].all()
    assert clipped
    image, clipped = draw(SQUARE, 14, 15, 15)
    assert image.sum() == 13 * 13
    assert clipped


def test_triangle_by_hand():
    # h = floor(35 / 6) = 5: rows of 1, 3, 5, 7, 9 pixels below the apex.
    image, clipped = draw(TRIANGLE, 7, 5, 23)
    assert image.sum(axis=1)[23:].tolist() == [1, 3, 5, 7, 9]
    assert image[23, 5] == 1
    assert image[27, 1:10].all()
    assert not clipped


def test_circle_by_hand():
    # Diameter 7, so radius 3.5. Pixel (3, 0): of its columns at 2.5, 2.83, 3.17, 3.5 the last is
    # inside for no row (3.5² + 0.17² > 12.25), the others for all: 12 of 16. Pixel (4, 0) starts
    # at 3.5: none. Pixel (3, 2): 2.5² + v² for v = 1.5 .. 2.5: all 4 inside; 2.83² + v²: v up to
    # 2.05, so 2; 3.17²: v up to 1.49, none; 6 of 16, no. Pixel (3, 1): v = 0.5 .. 1.5: 4 and 4;
    # 3.17²: v up to 1.49, so 3: 11 of 16, yes. Pixel (2, 2): 1.5 and 1.83: 4 and 4; 2.17² + v²
    # with v up to 2.75: 4, yes.
    image, clipped = draw(CIRCLE, 7, 10, 12)
    assert image[9:16, 7:14].tolist() == [
        [0, 0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0, 0],
    ]
    assert image.sum() == 37
    assert not clipped


def test_circle_touches_the_border_without_being_clipped(everything):
    factors, _, clipped = everything
    assert not clipped[factors[:, 0] == CIRCLE].any()
    # Diameter 14: exactly half of the pixel at distance 7 is inside, which is not enough.
    image, _ = draw(CIRCLE, 14, 21, 7)
    assert image[7].sum() == 13
    assert image[7, 27] == 1


def test_split_and_manifest(tmp_path, capsys):
    folder = prepare("shapes", {}, None, tmp_path)
    assert capsys.readouterr().out == (
        f"{folder}: 7,201 train and 801 eval images of 1 x 28 x 28; 8,002 configurations, "
        f"7,824 distinct images, 304 clipped at the border\n"
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "eval_data.npz",
        "manifest.json",
        "train_data.npz",
    ]
    train, held = (np.load(folder / f"{s}_data.npz") for s in ("train", "eval"))
    assert train["data"].shape == (7201, 1, 28, 28)
    assert held["data"].shape == (801, 1, 28, 28)
    source = np.concatenate([train["source"], held["source"]])
    assert source.dtype == np.int32
    assert np.array_equal(np.sort(source), np.arange(8002))
    assert train["factor_names"].tolist() == ["shape", "size", "x", "y"]
    assert np.array_equal(train["factors"], configurations()[train["source"]])
    assert np.array_equal(train["data"], render(train["factors"])[0])
    known = {image.tobytes() for image in train["data"]}
    manifest = json.loads((folder / "manifest.json").read_text())
    notes = manifest["notes"]
    assert notes["eval_images_also_in_train"] == sum(i.tobytes() in known for i in held["data"])
    assert notes["eval_images_also_in_train"] > 0
    assert notes["shape_codes"] == {"circle": 0, "square": 1, "triangle": 2}
    assert (notes["configurations"], notes["distinct_images"]) == (8002, 7824)
    assert manifest["subset"] is None
    assert manifest["left_out"] == []


def test_seed_decides_the_split(tmp_path):
    def order(name, **options):
        return np.load(prepare("shapes", options, None, tmp_path, name) / "train_data.npz")[
            "source"
        ]

    zero = order("zero")
    assert not np.array_equal(zero, order("one", seed=1))
    expected = np.random.Generator(np.random.PCG64(0)).permutation(8002)[:7201]
    assert np.array_equal(zero, expected)


def test_clean(tmp_path, capsys):
    folder = prepare("shapes", {"clean": True}, None, tmp_path)
    assert folder.name == "shapes-clean"
    assert "kept 7,527" in capsys.readouterr().out
    images = [np.load(folder / f"{s}_data.npz")["data"] for s in ("train", "eval")]
    assert [len(i) for i in images] == [6774, 753]
    assert len({i.tobytes() for i in np.concatenate(images)}) == 7527
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["notes"]["eval_images_also_in_train"] == 0
    assert [line.split(" ", 1)[0] for line in manifest["left_out"]] == ["304", "171"]
