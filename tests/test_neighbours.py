"""PRDC and nearest neighbours against independent packages, and their memory."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.spatial import distance as scipy_distance
from torch.utils._python_dispatch import TorchDispatchMode

from evaluate.metrics import nearest as nearest_module
from evaluate.metrics import pairs
from evaluate.metrics import prdc as prdc_module
from evaluate.metrics.nearest import nearest
from evaluate.metrics.prdc import prdc
from tests.test_set_metrics import vectors

# PRDC


def package(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    return {key: float(v) for key, v in compute_prdc(real.numpy(), fake.numpy(), k).items()}


@pytest.mark.parametrize(("k", "first", "second"), [(1, 30, 40), (5, 120, 77), (20, 60, 150)])
@pytest.mark.parametrize("entries", [1 << 20, 500])
def test_prdc_is_the_packages(k, first, second, entries, monkeypatch, capsys) -> None:
    monkeypatch.setattr(prdc_module, "_ENTRIES", entries)
    real, fake = vectors(first, 8), vectors(second, 8, 1)
    want = package(real, fake, k)
    assert prdc(real, fake, k) == pytest.approx(want, rel=1e-14)
    assert 0 < want["density"] != want["coverage"] and 0 < min(want.values()) < 1
    far = fake + 100
    assert prdc(real, far, k) == dict.fromkeys(want, 0.0)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_prdc_with_ties_and_duplicates(k: int, capsys) -> None:
    """Points of a small grid: hardly a distance that another pair has not, and many copies."""
    rng = np.random.default_rng(k)
    real, fake = (torch.from_numpy(rng.integers(0, 4, (n, 2)).astype(float)) for n in (60, 45))
    want = package(real, fake, k)
    assert prdc(real, fake, k) == pytest.approx(want, rel=1e-14)
    wide = torch.from_numpy(rng.integers(0, 3, (50, 5)).astype(float))
    assert prdc(wide, wide, k) == pytest.approx(package(wide, wide, k), rel=1e-14)


def test_prdc_of_copies_far_from_the_origin() -> None:
    """At 1e4 from the origin rounding of the squares exceeds these distances' own."""
    step = 2.0**-20
    real = 8192 + step * torch.tensor([[0.0, 0], [1, 0], [3, 0], [7, 0]]).double()
    # Radii (k = 1): 1, 1, 2, 4 steps. A sample at 2 is at no less than 1 from 1 (outside: balls
    # are open) and at 1 from 3 (inside); one at 3 is a copy, within 3's ball and, at 4 from 7,
    # outside 7's.
    fake = 8192 + step * torch.tensor([[2.0, 0], [3, 0]]).double()
    got = prdc(real, fake, 1)
    # Either sample's ball has radius 1 and holds 3 alone: the sample at 2 has 1 and 3 at its edge.
    assert got == {"precision": 1.0, "recall": 0.25, "density": 1.0, "coverage": 0.25}


def test_prdc_of_data_against_themselves_and_too_few() -> None:
    x = vectors(50, 6)
    same = prdc(x.float(), x.float(), 5)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    # Each ball holds itself and, at less than the 5th neighbour's distance, four others.
    assert same["density"] == pytest.approx(1)
    assert prdc(x[:6], x, 5)["recall"] > 0
    with pytest.raises(ValueError, match="needs more than 5 of them, fake has 5"):
        prdc(x, x[:5], 5)
    with pytest.raises(ValueError, match="real has 3"):
        prdc(x[:3], x, 3)


# Nearest neighbours


def check_nearest(queries: torch.Tensor, references: torch.Tensor, blocks: int) -> None:
    table = scipy_distance.cdist(queries.double().numpy(), references.double().numpy())
    distance, index = nearest(queries, references.split(blocks))
    assert distance.dtype == torch.float64 and index.dtype == torch.int64
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(distance, table.min(1), rtol=1e-12)


@pytest.mark.parametrize("blocks", [1, 17, 1000])
@pytest.mark.parametrize("entries", [1 << 21, 400])
def test_nearest_is_scipys(blocks: int, entries: int, monkeypatch) -> None:
    monkeypatch.setattr(nearest_module, "_ENTRIES", entries)
    monkeypatch.setattr(nearest_module, "_ROWS", 50)
    check_nearest(vectors(90, 12, 1).float(), vectors(130, 12).float(), blocks)


def test_nearest_among_images_with_many_ties() -> None:
    """Integers: ties are exact, and the first of equals is what argmin gives, too."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 2, (300, 9)).astype(np.float32))
    check_nearest(images[:50], images, 7)
    check_nearest(torch.zeros(3, 9), images, 64)
    check_nearest(torch.full((3, 9), 0.5), images, 64)


def test_nearest_where_float32_products_cannot_tell() -> None:
    """Differences of 1e-4 at 1e3 from the origin: |a|² + |b|² - 2 a·b is off by far more."""
    rng = np.random.default_rng(1)
    base = (1000 + 100 * rng.normal(size=(1, 64))).astype(np.float32)
    references = torch.from_numpy(base + 1e-3 * rng.normal(size=(200, 64)).astype(np.float32))
    queries = torch.from_numpy(base + 1e-3 * rng.normal(size=(40, 64)).astype(np.float32))
    check_nearest(queries, references, 33)
    other = torch.cat([queries[:20], queries[20:] * -1])
    check_nearest(other, torch.cat([references, -references]), 33)


def test_copies_are_at_exactly_zero() -> None:
    x = vectors(60, 30).float()
    x[50] = x[10]
    distance, index = nearest(x, iter(x.split(13)))
    assert distance.abs().max() == 0
    want = torch.arange(60)
    want[50] = 10
    assert torch.equal(index, want)


def test_nearest_refuses_nothing_and_what_is_not_finite() -> None:
    x = vectors(5, 3).float()
    with pytest.raises(ValueError, match="no references"):
        nearest(x, [x[:0]])
    bad = x.clone()
    bad[2, 1] = torch.nan
    with pytest.raises(ValueError, match="a query is not finite"):
        nearest(bad, [x])
    with pytest.raises(ValueError, match="a reference is not finite"):
        nearest(x, [bad])


# Memory


class Largest(TorchDispatchMode):
    """Remembers how many bytes the largest tensor has that is made within."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


def test_memory_does_not_grow_with_the_pairs(monkeypatch) -> None:
    """Of 400 x 700 pairs no more than 2000 are ever held; the vectors are 8 x 700 values."""
    for module in (nearest_module, prdc_module, pairs):
        monkeypatch.setattr(module, "_ENTRIES", 2000)
    monkeypatch.setattr(nearest_module, "_ROWS", 50)
    real, fake = vectors(400, 8), vectors(700, 8, 1)
    most = fake.nbytes
    with Largest() as seen:
        prdc(real, fake, 3)
        nearest(fake.float(), real.float().split(100))
        # Ties all over: every pair is to be looked at exactly.
        nearest(torch.zeros(30, 8), torch.ones(400, 8).split(100))
    assert 0 < seen.bytes <= most
