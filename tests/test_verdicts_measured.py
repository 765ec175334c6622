"""Verdicts and how a metric was measured: settings, seeds and rows alike, and no interval."""

import re

import pytest

from study.errors import StudyError
from tests.made_claims import (
    cells,
    drawn,
    exists,
    measured,
    order,
    reference,
    study,
    trend,
    value,
    verdict,
    word,
)

# --- settings of a metric ------------------------------------------------------------------------

VGG = {"LPIPS": {"backbone": "VGG"}}
WITHIN_3 = {"coverage@t": {"threshold": 3.0}}
LPIPS = {"metric": "LPIPS"}


def lpips(backbone: str, *means: float) -> list[dict]:
    about = {"title": f"LPIPS ({backbone})", "settings": {"backbone": backbone, "version": "0.1"}}
    return [{"LPIPS": measured(mean, **about)} for mean in means]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (value(0.3, 1, **LPIPS), "reproduced"),
        (value(0.5, 1, **LPIPS), "not reproduced"),
        (trend(**LPIPS), "reproduced"),
        (order(direction="higher", **LPIPS), "not reproduced"),
        (exists(below=0.5, **LPIPS), "reproduced"),
    ],
)
def test_another_backbone_than_the_sources_is_another_metric(claim, expected) -> None:
    for backbone, said in (("VGG", expected), ("AlexNet", "cannot tell")):
        made = study(
            a=lpips(backbone, 0.30, 0.301, 0.302),
            b=lpips(backbone, 0.40, 0.401, 0.402),
            c=lpips(backbone, 0.50, 0.501, 0.502),
        )
        found = verdict(made, claim, settings=VGG)
        assert found.verdict == said
        if backbone == "AlexNet":
            assert found.why == "LPIPS: backbone is AlexNet, the source's VGG"
        # A source that does not say which is held against either.
        assert word(made, claim) == expected


@pytest.mark.parametrize(("threshold", "expected"), [(3.0, "reproduced"), (10.0, "cannot tell")])
def test_coverage_within_another_distance_is_another_number(threshold, expected) -> None:
    about = {"settings": {"threshold": threshold, "samples": 10_000}}
    made = study(a=[{"coverage@t": measured(0.571, **about)}])
    claim = value(0.571, 3, metric="coverage@t")
    assert word(made, claim, settings=WITHIN_3) == expected
    assert word(made, claim | {"settings": WITHIN_3}) == expected
    # A claim's own settings are in place of the source's.
    assert word(made, claim | {"settings": WITHIN_3}, settings={"coverage@t": {}}) == expected


def test_a_setting_that_was_not_recorded_is_not_the_sources() -> None:
    made = study(a=[{"LPIPS": measured(0.3)}])
    found = verdict(made, value(0.3, 1, **LPIPS), settings=VGG)
    assert found.verdict == "cannot tell" and "backbone is not recorded" in found.why


@pytest.mark.parametrize(
    ("claim", "more", "message"),
    [
        (value(), {"settings": {"LPPIS": {}}}, "settings: no claim is on 'LPPIS'"),
        (value(settings={"KL": {}}), {}, "'v': settings: the claim is not on 'KL'"),
    ],
)
def test_settings_of_a_metric_that_nobody_claims_are_refused(claim, more, message) -> None:
    with pytest.raises(StudyError, match=re.escape(message)):
        reference(claim, **more)


# --- seeds and rows of one claim -----------------------------------------------------------------


def fid(seed: int, mean: float, **more) -> dict:
    return {"FID": measured(mean + seed / 100, **more)}


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ({"settings": {"sha256": "x"}}, {"settings": {"sha256": "x"}}, None),
        (
            {"settings": {"sha256": "x"}},
            {"settings": {"sha256": "y"}},
            "its sha256 x (a) and y (b)",
        ),
        ({"title": "one"}, {"title": "two"}, "its title one (a) and two (b)"),
        ({"definition": "at most 1"}, {"definition": "at most 2"}, "its definition at most 1 (a)"),
    ],
)
@pytest.mark.parametrize("claim", [order(metric="FID"), trend(metric="FID", rows=["a", "b"])])
def test_rows_that_were_not_measured_alike_have_no_order(claim, one, two, told) -> None:
    made = study(
        a=[fid(seed, 1.0, **one) for seed in range(3)],
        b=[fid(seed, 2.0, **two) for seed in range(3)],
    )
    found = verdict(made, claim)
    assert found.verdict == ("cannot tell" if told else "reproduced")
    assert told is None or f"FID was not measured alike: {told}" in found.why


def test_seeds_that_were_not_measured_alike_have_no_mean() -> None:
    same, other = ({"settings": {"samples": count}} for count in (10, 100))
    claim = exists(metric="FID", below=5.0)
    assert word(study(a=[fid(0, 1.0, **same), fid(1, 1.0, **same)]), claim) == "reproduced"
    found = verdict(study(a=[fid(0, 1.0, **same), fid(1, 1.0, **other)]), claim)
    assert found.verdict == "cannot tell" and "its samples 10 (a) and 100 (a)" in found.why


@pytest.mark.parametrize(("samples", "expected"), [(64, "reproduced"), (65, "cannot tell")])
def test_another_number_of_samples_is_another_measure(samples, expected) -> None:
    made = study(a=[0.1] * 3, b=[0.1] * 3)
    drawn(made, "a", "prior", *(fid(seed, 1.0) for seed in range(3)), samples=64)
    drawn(made, "b", "prior", *(fid(seed, 2.0) for seed in range(3)), samples=samples)
    claim = order(metric="FID", sampler="prior") | {"than": [{"row": "b", "sampler": "prior"}]}
    assert word(made, claim) == expected


def test_the_two_metrics_of_a_ratio_are_two() -> None:
    made = study(a=[{"BCE": 0.1 * s, "KL": 0.1 * s} for s in (1, 2)])
    assert word(made, exists(metric="BCE", over={"metric": "KL"}, above=0.9)) == "reproduced"


# --- no interval ---------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [value(), value(0.5, 1), exists(below=0.1), exists(above=0.1)])
def test_one_seed_of_one_number_of_a_split_decides_nothing(claim) -> None:
    found = verdict(study(a=[(0.015, None)]), claim)
    assert found.verdict == "cannot tell" and "no interval over images" in found.why
    assert found.ours == "0.01500 (n = 1)"
    # With an interval over images, or over two seeds, it does.
    for made in (study(a=[0.015]), study(a=[(0.015, None), (0.015, None)])):
        assert word(made, claim) in ("reproduced", "not reproduced")


def test_one_seed_of_a_ratio_decides_nothing() -> None:
    over = exists(over={"row": "b"}, above=0.89, below=0.91)
    assert word(study(a=[0.009], b=[0.01]), over) == "cannot tell"
    assert word(study(a=[0.009, 0.009], b=[0.01, 0.01]), over) == "reproduced"
    # The seeds' ratios, 0.9 and 1.1, are told apart from no bound between them.
    assert word(study(a=[0.009, 0.011], b=[0.01, 0.01]), over) == "cannot tell"


def test_the_made_parts_are_as_a_record_has_them() -> None:
    (about,) = cells({"MSE": 0.1}).values()
    assert set(measured(0.1)) <= set(about)
