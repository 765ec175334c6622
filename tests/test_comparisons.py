"""Comparisons of rows: which is best, what is tested how, and what is not."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluate.comparisons import compare, find
from evaluate.rows import columns, reconstructed
from evaluate.statistics import holm, paired_bootstrap
from study.files import write_arrays
from tests.made_record import entry, record, sampled


def noisy(mean: float, seed: int, images: int = 200) -> np.ndarray:
    """Per-image values whose mean is `mean` to the last bits."""
    values = np.random.default_rng(seed).normal(0, 0.1, images)
    return values - values.mean() + mean


def written(folder: Path, rows: dict[str, list[np.ndarray | None]], key: str = "SSIM"):
    """A record of these per-image values by row and seed, and where they lie."""
    cells, per_image = {}, {}
    for name, seeds in rows.items():
        cells[name] = [None if v is None else {key: entry(key, float(v.mean()))} for v in seeds]
        for seed, values in enumerate(seeds):
            per_image[name, seed] = folder / name / f"{seed}.npz"
            if values is not None:
                write_arrays(per_image[name, seed], {f"eval.{key}": values})
    return record(*cells.items()), per_image


def test_the_best_is_held_against_every_other_row(tmp_path: Path) -> None:
    rows = {"a": noisy(0.5, 0), "b": noisy(0.49, 1), "c": noisy(0.1, 2)}
    made = compare(*written(tmp_path, {name: [values] for name, values in rows.items()}))
    (found,) = made
    assert (found["of"], found["key"], found["title"]) == ("reconstruction", "SSIM", "SSIM")
    assert found["best"] == "a" and found["test"] == "paired bootstrap"
    raw = paired_bootstrap(list(rows.values()))
    # a-b, a-c, b-c: Holm over all three, not over the two with the best.
    corrected = holm([raw[0, 1], raw[0, 2], raw[1, 2]])
    assert found["p"] == {
        "b": pytest.approx(corrected[0], rel=1e-3),
        "c": pytest.approx(corrected[1], rel=1e-3),
    }
    assert found["p"]["c"] == pytest.approx(3 / 10_001, rel=1e-3) and found["p"]["b"] > 0.05


@pytest.mark.parametrize(("key", "best"), [("SSIM", "high"), ("MSE", "low")])
def test_better_may_be_up_or_down(tmp_path: Path, key: str, best: str) -> None:
    rows = {"high": [noisy(0.5, 0)], "low": [noisy(0.1, 1)]}
    assert compare(*written(tmp_path, rows, key))[0]["best"] == best


def test_what_has_no_better_end_or_is_as_published_is_not_compared(tmp_path: Path) -> None:
    rows = {"a": [noisy(0.5, 0)], "b": [noisy(0.1, 1)]}
    assert compare(*written(tmp_path / "1", rows, "KL")) == []
    assert compare(*written(tmp_path / "2", rows, "BCE (as published)")) == []


def test_means_are_over_the_seeds_that_are_there(tmp_path: Path) -> None:
    rows = {"a": [noisy(0.5, 0), None], "b": [noisy(0.4, 1), noisy(0.7, 2)], "gone": [None, None]}
    (found,) = compare(*written(tmp_path, rows))
    assert found["best"] == "b" and found["p"].keys() == {"a"}


def test_rows_of_other_images_are_not_held_against_the_best(tmp_path: Path) -> None:
    rows = {"a": [noisy(0.5, 0)], "fewer": [noisy(0.4, 1, 64)], "c": [noisy(0.3, 2)]}
    (found,) = compare(*written(tmp_path, rows))
    assert found["p"].keys() == {"c"}
    made, per_image = written(tmp_path, rows)
    per_image["c", 0].unlink()
    assert compare(made, per_image) == [], "nor those without values"


def test_a_row_of_which_one_seed_lacks_the_metric_is_left_out(tmp_path: Path) -> None:
    rows = {name: [noisy(m, m_)] for m_, (name, m) in enumerate({"a": 0.5, "b": 0.4}.items())}
    made, per_image = written(tmp_path, rows | {"c": [noisy(0.9, 7), noisy(0.9, 8)]})
    cell = made["rows"][2]["cells"][1]
    cell["metrics"], cell["missing"] = {}, {"SSIM": "too small"}
    (found,) = compare(made, per_image)
    assert found["best"] == "a" and found["p"].keys() == {"b"}


def numbers(**rows: list[float]) -> dict:
    """A record of a metric that is one number of a split."""
    about = entry("MSE", 0.0) | {"over": "split", "title": "FID"}
    cells = [(name, [{"MSE": about | {"mean": v}} for v in own]) for name, own in rows.items()]
    return record(*cells)


def test_numbers_of_a_split_are_tested_over_seeds() -> None:
    a, b, c = [10.0, 11.0, 12.5], [12.0, 13.0, 13.5], [40.0, 42.0, 41.0]
    (found,) = compare(numbers(a=a, b=b, c=c), {})
    assert found["best"] == "a" and found["test"] == "Welch"
    raw = [stats.ttest_ind(x, y, equal_var=False).pvalue for x, y in ((a, b), (a, c), (b, c))]
    assert found["p"] == {
        "b": pytest.approx(holm(raw)[0], rel=1e-3),
        "c": pytest.approx(holm(raw)[1], rel=1e-3),
    }


def test_numbers_of_a_split_of_one_seed_are_not_compared() -> None:
    assert compare(numbers(a=[10.0], b=[20.0]), {}) == []


def test_every_sampler_of_every_model_is_a_row(tmp_path: Path) -> None:
    made, per_image = written(tmp_path, {"vae": [noisy(0.9, 0)], "vq": [noisy(0.8, 1)]})
    means = {("vae", "prior"): 0.5, ("vq", "uniform"): 0.1, ("vq", "marginal"): 0.52}
    arrays = {key: noisy(mean, seed) for seed, (key, mean) in enumerate(means.items())}
    for row in made["rows"]:
        own = {sampler: mean for (name, sampler), mean in means.items() if name == row["name"]}
        row["cells"][0]["generations"] = {s: sampled(s, mean) for s, mean in own.items()}
        names = {f"eval.generations.{s}.SSIM": arrays[row["name"], s] for s in own}
        write_arrays(per_image[row["name"], 0], names)
    (found,) = compare(made, per_image)
    assert found["of"] == "generation" and found["best"] == "vq/marginal"
    assert found["p"].keys() == {"vae/prior", "vq/uniform"} and found["p"]["vq/uniform"] < 0.05
    (column,) = columns(reconstructed(made["rows"]), ["SSIM"])
    assert find([found], "generation", column) == found
    assert find([found], "reconstruction", column) is None


def test_another_setting_is_another_column(tmp_path: Path) -> None:
    rows = {name: [noisy(m / 10, m)] for m, name in enumerate("abcd")}
    made, per_image = written(tmp_path, rows)
    for row in made["rows"][2:]:
        row["cells"][0]["metrics"]["SSIM"] |= {"settings": {"kernel_size": 7}}
    first, second = compare(made, per_image)
    assert [first["best"], second["best"]] == ["b", "d"]
    assert [set(first["p"]), set(second["p"])] == [{"a"}, {"c"}]
    assert second["settings"] == {"kernel_size": 7} != first["settings"]
