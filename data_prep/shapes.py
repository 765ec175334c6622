"""The shapes of the report: its configurations as its own code enumerated them.

Sizes s are 7 to 14, the canvas is 28 x 28, pixel (x, y) is column x of row y from the top left.

- circle: diameter s about the integer point (x, y), both from floor(s/2) to 28 - ceil(s/2); a
  pixel is set when more than half of its 4 x 4 subsamples, at offsets evenly spaced from -0.5 to
  0.5, lie within s/2;
- square: top left corner (x, y), both from 0 to 28 - s + 1;
- triangle: height h = floor(5s/6), apex (x, y), row j below it from x - j to x + j, j < h; x from h
  to 28 - h, y from 0 to 28 - h.

All bounds are inclusive. Those of the square go one too far, so that some are cut off by the
border, and some configurations give the same image: 8,002 configurations, 7,824 distinct images.
"""

import numpy as np

from data_prep.built import Built, Split, one_chunk
from data_prep.options import ShapesOptions

CANVAS = 28
SIZES = range(7, 15)
NAMES = ("circle", "square", "triangle")
FACTORS = ("shape", "size", "x", "y")
# Wider than any shape reaches beyond the canvas: what is drawn there is what the border cuts off.
MARGIN = 16


def triangle_height(size: int) -> int:
    """Rows of a triangle of this size."""
    return 5 * size // 6


def _range(shape: int, size: int) -> tuple[range, range]:
    """Every x and every y of a shape of this size."""
    if NAMES[shape] == "circle":
        span = range(size // 2, CANVAS - (size + 1) // 2 + 1)
        return span, span
    if NAMES[shape] == "square":
        span = range(CANVAS - size + 2)
        return span, span
    height = triangle_height(size)
    return range(height, CANVAS - height + 1), range(CANVAS - height + 1)


def configurations() -> np.ndarray:
    """Every configuration, int64 8002 x 4 (shape, size, x, y), in ascending order."""
    rows = [
        (shape, size, x, y)
        for shape in range(len(NAMES))
        for size in SIZES
        for x in _range(shape, size)[0]
        for y in _range(shape, size)[1]
    ]
    return np.array(rows, dtype=np.int64)


def stamp(shape: int, size: int) -> np.ndarray:
    """The shape about its own (x, y), which is the middle pixel: bool, 2 MARGIN + 1 each way."""
    row, column = np.mgrid[-MARGIN : MARGIN + 1, -MARGIN : MARGIN + 1]
    if NAMES[shape] == "circle":
        offsets = np.linspace(-0.5, 0.5, 4)
        down = row[..., None, None] + offsets[:, None]
        right = column[..., None, None] + offsets
        inside = down**2 + right**2 <= (size / 2) ** 2
        return inside.sum(axis=(2, 3)) > offsets.size**2 / 2
    if NAMES[shape] == "square":
        return (row >= 0) & (row < size) & (column >= 0) & (column < size)
    return (row >= 0) & (row < triangle_height(size)) & (abs(column) <= row)


def render(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (uint8 N x 1 x 28 x 28, 0 or 255) of N configurations, and which of them (bool N)
    the border cuts off."""
    images = np.zeros((len(factors), 1, CANVAS, CANVAS), np.uint8)
    clipped = np.zeros(len(factors), bool)
    stamps = {(k, s): stamp(k, s) for k in range(len(NAMES)) for s in SIZES}
    side = CANVAS + 2 * MARGIN
    for i, (shape, size, x, y) in enumerate(factors.tolist()):
        large = np.zeros((side, side), bool)
        large[y : y + 2 * MARGIN + 1, x : x + 2 * MARGIN + 1] = stamps[shape, size]
        visible = large[MARGIN:-MARGIN, MARGIN:-MARGIN]
        images[i, 0] = visible * np.uint8(255)
        clipped[i] = visible.sum() < large.sum()
    return images, clipped


def first_of_each(images: np.ndarray) -> np.ndarray:
    """Which images (bool N) are not a repetition of an earlier one."""
    bits = np.packbits(images.reshape(len(images), -1) > 0, axis=1)
    first = np.zeros(len(images), bool)
    first[np.unique(bits, axis=0, return_index=True)[1]] = True
    return first


def _count_shared(images: np.ndarray, train: np.ndarray, evaluation: np.ndarray) -> int:
    known = {images[i].tobytes() for i in train}
    return sum(images[i].tobytes() in known for i in evaluation)


def _split(factors: np.ndarray, images: np.ndarray, part: np.ndarray) -> Split:
    arrays = {
        "factors": factors[part],
        "factor_names": np.array(FACTORS),
        "source": part.astype(np.int32),
    }
    return Split(len(part), one_chunk(images[part]), arrays)


def build(options: ShapesOptions, **_: object) -> Built:
    """The shapes, permuted by PCG64(seed): the first 90 % as train, the rest as eval."""
    factors = configurations()
    images, clipped = render(factors)
    whole = np.flatnonzero(~clipped)
    once = whole[first_of_each(images[whole])]
    kept = once if options.clean else np.arange(len(factors))
    order = kept[np.random.Generator(np.random.PCG64(options.seed)).permutation(len(kept))]
    train, evaluation = np.split(order, [len(order) * 9 // 10])
    distinct = int(first_of_each(images).sum())
    counts = (
        f"{len(factors):,} configurations, {distinct:,} distinct images, "
        f"{clipped.sum():,} clipped at the border"
    )
    return Built(
        image_shape=(1, CANVAS, CANVAS),
        splits={
            "train": _split(factors, images, train),
            "eval": _split(factors, images, evaluation),
        },
        left_out=[
            f"{clipped.sum():,} configurations: clipped at the border",
            f"{len(whole) - len(once):,} configurations: the same image as an earlier one",
        ]
        if options.clean
        else [],
        notes={
            "shape_codes": {name: code for code, name in enumerate(NAMES)},
            "configurations": len(factors),
            "distinct_images": distinct,
            "clipped_at_the_border": int(clipped.sum()),
            "kept": len(kept),
            "eval_images_also_in_train": _count_shared(images, train, evaluation),
            "source": "index among all configurations in ascending order of shape, size, x, y",
        },
        raw={"generated": True},
        remark=counts + (f"; kept {len(kept):,}: each distinct one not clipped" * options.clean),
    )
