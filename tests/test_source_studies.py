"""The sources' claims on the studies that re-run them: how near our runs are, and that each claim
of a study that is run to its end is judged."""

import re

import pytest

from evaluate.claims.comparable import obstacles
from evaluate.claims.judge import judge
from evaluate.claims.schema import Figure, Order, Word
from evaluate.claims.ways import choices, places
from evaluate.registry import metrics_for
from study.expansion import load_study
from study.schema import Evaluation, FiniteData, LatentSpace
from tests.made_claims import CONFIGURED, FILES, cells, measured, of, picture


def record_of(name: str, budget: str | None) -> dict:
    """What a study's file says that it trains, as a record, nothing measured."""
    source, loaded = of(name), load_study(CONFIGURED[name], budget)
    made = {"split": loaded.split, "budget": budget, "command": "", "rows": []}
    # What shapes' 8,002 configurations give, what the notes' small budget asks for, and MNIST's.
    train = {"shapes": 7202, "celeba56": 8000, "mnist": 50_000}[name]
    for row, of_row in loaded.rows().items():
        config = of_row[0].run.resolved()
        config["model"]["input_dim"] = [1, source.measured.image_size, source.measured.image_size]
        on = {"data": {"images": {"train": train}}, "config": config}
        made["rows"].append({"name": row, "label": row, "cells": [on]})
    return made


def test_the_reports_budget_is_the_report_and_the_usual_one_is_not() -> None:
    source = of("shapes")
    assert set(source.rows) == set(load_study(CONFIGURED["shapes"], "paper-seeds").rows())
    paper, usual = record_of("shapes", "paper"), record_of("shapes", None)
    seeds = record_of("shapes", "paper-seeds")
    for row in source.rows:
        for near in (seeds, paper) if "script" not in row else (seeds,):
            assert obstacles(near, source, [row], {"images"}) == []
        told = "; ".join(obstacles(usual, source, [row], {"images"}))
        assert "networks.encoder is [512, 256]" in told and "times the source's training" in told
        # How many images there are is no matter of training.
        assert obstacles(usual, source, [row], {"data"}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_nearest_budget_of_a_source_is_one_of_its_study_and_is_near(path) -> None:
    source = of(path.stem)
    if source.nearest_budget is None:
        assert path.stem != "shapes"
        return
    assert load_study(CONFIGURED[path.stem]).config.budgets.keys() >= {source.nearest_budget}
    loaded = load_study(CONFIGURED[path.stem], source.nearest_budget)
    assert {len(seeds) > 1 for seeds in loaded.rows().values()} == {True}
    made = record_of(path.stem, source.nearest_budget)
    assert obstacles(made, source, list(source.rows)) == []


@pytest.mark.parametrize(
    ("row", "key", "value", "told"),
    [
        ("vae_script", "sampled_std", None, "is not set, the source's exp_log_var"),
        ("beta_vae-beta0.65", "sampled_std", "exp_log_var", "is exp_log_var, the source's not set"),
        ("beta_vae-beta0.65", "reduction", "mean", "is mean, the source's not set"),
        ("wae_mmd", "mmd_sigmas", [1.0], "is [1.0], the source's [0.5, 1.0, 3.0, 5.0]"),
    ],
)
def test_another_change_of_the_engine_is_not_the_report(row, key, value, told) -> None:
    made = record_of("shapes", "paper-seeds")
    (found,) = [known for known in made["rows"] if known["name"] == row]
    found["cells"][0]["config"]["engine"][key] = value
    (only,) = obstacles(made, of("shapes"), [row], {"images"})
    assert only.removesuffix(" as its code had it") == f"engine.{key} {told}"


def test_only_the_blog_post_leaves_our_budget_open() -> None:
    """It says neither images nor epochs, and of its models only what their losses weigh."""
    for name, budget in (("mnist", "small"), ("shapes", None), ("celeba56", "small")):
        source, made = of(name), record_of(name, budget)
        silent = source.model_copy(
            update={"measured": source.measured.model_copy(update={"training_images": None})}
        )
        for row, about in source.rows.items():
            told = "; ".join(obstacles(made, silent, [row], {"images"}))
            left_open = name == "mnist" and about.epochs is None
            assert ("does not say" in told) == (bool(made["budget"]) and not left_open), row


def test_the_notes_are_run_for_as_many_steps_on_fewer_images() -> None:
    source, made = of("celeba56"), record_of("celeba56", "small")
    assert set(source.rows) == {row["name"] for row in made["rows"]}
    assert obstacles(made, source, list(source.rows), {"images", "training"}) == []


@pytest.mark.parametrize("name", ["shapes", "mnist", "celeba56"])
def test_every_claim_of_a_study_that_is_run_has_a_measure(name: str) -> None:
    left = [claim.id for claim in of(name).claims if isinstance(claim, Word)]
    # Another source's, with a study of its own to come.
    assert left == (["homework-ae-separates", "homework-ae-samples"] if name == "mnist" else [])


SCRIPT = " (with the settings of the authors' script)"
# Of a source: how the claims of one reading are named, and of another; the text; rows after rows.
READINGS = [
    (
        "mnist",
        (r"(.*)", r"\1-mean"),
        (r"\[summed\]", "[averaged]"),
        {"vae": "vae_mean", "beta_vae-beta30.0": "beta_vae_mean"},
        14,
    ),
    (
        "celeba56",
        (r"(.*)-sums", r"\1-light"),
        (r"\[SSE \+ KL\]", "[MSE + 0.00025 KL]"),
        {"vae_sums": "vae_light"},
        6,
    ),
    (
        "celeba56",
        (r"(.*)-sums", r"\1-mean"),
        (r"\[SSE \+ KL\]", "[MSE + KL]"),
        {"vae_sums": "vae_mean"},
        6,
    ),
    (
        "shapes",
        (r"(.*)", r"\1-script"),
        (r"$", SCRIPT),
        {"beta_vae-beta0.65": "vae_script", "wae_mmd": "wae_mmd_script"},
        13,
    ),
    (
        "shapes",
        (r"(.*(?:correlates|position|shape|near))", r"ae-\1"),
        (r"^VAE:", "AE:"),
        {"beta_vae-beta0.65": "wae_mmd"},
        6,
    ),
]


@pytest.mark.parametrize(("name", "ids", "texts", "rows", "count"), READINGS)
def test_two_readings_are_the_same_claims_of_other_rows(name, ids, texts, rows, count) -> None:
    claims = {claim.id: claim.model_dump() for claim in of(name).claims}
    pairs = 0
    for one, claim in claims.items():
        other = re.sub(f"^{ids[0]}$", ids[1], one)
        if other == one or other not in claims:
            continue
        mapped = claim | {"id": other, "text": re.sub(texts[0], texts[1], claim["text"], count=1)}
        mapped["row"] = rows.get(claim["row"], claim["row"])
        for under in [*(claim.get("than") or []), *filter(None, [claim.get("over")])]:
            under["row"] = rows.get(under["row"], under["row"])
        if claim["contradicts"]:
            mapped["contradicts"] = re.sub(f"^{ids[0]}$", ids[1], claim["contradicts"])
        assert mapped == claims[other]
        pairs += 1
    # All that there are of the other reading.
    assert pairs == count


def test_every_claim_on_a_reading_has_its_others() -> None:
    blog = [c for c in of("mnist").claims if c.place.startswith("blog") and c.kind != "figure"]
    assert len(blog) == 2 * 14
    assert sum(claim.id.endswith("-script") for claim in of("shapes").claims) == 13
    bracketed = [claim for claim in of("celeba56").claims if "[" in claim.text]
    assert len(bracketed) == 3 * 6


EVERYTHING = Evaluation(
    lpips=["vgg", "as_published"],
    features=["classifier"],
    finite=FiniteData(),
    latents=LatentSpace(),
    sharpness=True,
)


def complete(name: str, budget: str | None, seeds: int) -> dict:
    """A study's record with every number that its source's claims name, and every figure."""
    source, made = of(name), record_of(name, budget)
    made["figures"] = [
        picture(figure.file, f"{figure.file}.png")
        for figure in load_study(CONFIGURED[name], budget).config.figures
    ]
    for row in made["rows"]:
        row["cells"] = [row["cells"][0] | {"seed": seed, "metrics": {}} for seed in range(seeds)]
    wanted = {
        place
        for claim in source.claims
        if not isinstance(claim, Figure | Word)
        for _, chosen in choices(claim)
        for published in (False, True)
        for place in places(chosen, published)
    }
    registered = metrics_for(EVERYTHING)
    order = [row["name"] for row in made["rows"]]
    for row, sampler, key in wanted:
        (found,) = [known for known in made["rows"] if known["name"] == row]
        for seed, cell in enumerate(found["cells"]):
            # Rows that are far apart: what a test over enough seeds does show.
            number = 1 + order.index(row) + seed / 100
            settings = source.settings.get(key, {})
            about = measured(number, settings=settings, over=registered[key].over)
            if about["over"] in ("split", "training"):
                about["interval"] = None
            entry = cell
            if sampler is not None:
                made_by = cell.setdefault("generations", {})
                entry = made_by.setdefault(sampler, {"samples": 10, "metrics": {}})
            entry["metrics"] |= cells({key: about})
    return made


SETTLED = ("reproduced", "not reproduced", "differs in definition")


@pytest.mark.parametrize(
    ("name", "budget", "one", "three"),
    [
        # Numbers of other networks and another training than the report's are not judged.
        ("shapes", None, 1, 6),
        ("shapes", "paper-seeds", 9, 40),
        ("mnist", "small", 2, 29),
        ("celeba56", "small", 8, 21),
    ],
)
def test_a_study_that_was_run_leaves_no_claim_open(
    name: str, budget: str | None, one: int, three: int
) -> None:
    """And settles as many as its seeds let it."""
    source, command = of(name), "python reproduce.py STUDY"
    for seeds, settled in ((1, one), (3, three)):
        verdicts = judge(complete(name, budget, seeds), source, f"{command} --budget {budget}")
        for verdict in verdicts:
            kind = verdict.claim.kind
            assert (verdict.verdict == "open") == (kind == "word"), (verdict.claim.id, verdict.why)
            assert (verdict.verdict == "drawn") == (kind == "figure")
            if isinstance(verdict.claim, Order):
                assert "against" in verdict.ours
        words = {verdict.claim.id: verdict.verdict for verdict in verdicts}
        assert sum(word in SETTLED for word in words.values()) == settled
        if name == "shapes":
            assert words["unique-images"] == "not reproduced", "of 1 image, counted exactly"


def test_without_the_script_rows_their_claims_are_open_and_no_others() -> None:
    """What make reproduce runs in its five minutes has not got them."""
    source, record = of("shapes"), complete("shapes", None, 3)
    command = "python reproduce.py configs/studies/shapes.json"
    record["budget"] = "quick"
    record["rows"] = [row for row in record["rows"] if "script" not in row["name"]]
    for verdict in judge(record, source, f"{command} --budget quick"):
        assert (verdict.verdict == "open") == verdict.claim.id.endswith("-script")
        if verdict.verdict == "open":
            assert "budget 'quick' has no row" in verdict.why
            assert verdict.command == f"{command} --budget paper-seeds"
