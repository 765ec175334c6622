"""The registry of metrics as a page: `evaluate/METRICS.md`, and `python -m evaluate metrics`."""

from collections.abc import Iterator
from typing import Any

from evaluate.metric import FEATURES, Metric
from evaluate.registry import GENERATION_KEYS, KEYS, metrics_for
from study.overrides import flatten
from study.schema import BernoulliLikelihood, Evaluation, FiniteData, LatentSpace

# What a run can ask for, all of it.
_ALL = Evaluation(
    lpips=["vgg", "alex", "as_published"],
    features=list(FEATURES),
    nll_samples=1000,
    finite=FiniteData(),
    latents=LatentSpace(),
    sharpness=True,
)
# Another value for each setting that a metric's definition may depend on. Which do is found out.
_OTHERWISE: dict[str, Any] = {
    "split": "train",
    "images": 5,
    "likelihood": BernoulliLikelihood(name="bernoulli"),
    "elbo_samples": 17,
    "samples": 17,
    "nll_samples": 17,
    "neighbours": 17,
    "feature_images": 17,
    "pictures": 17,
}
_FINITE_OTHERWISE = {"threshold": 17.0, "samples": 17, "distance_samples": 17, "epsilon": 0.17}
_LATENTS_OTHERWISE = {"training_images": 17, "neighbours": 17}

_OVER = {
    "images": "images (or samples)",
    "split": "none: one number of all",
    "training": "none: a number of the run's history.jsonl, taken into a study's runs.json",
    "data": "none: a count of the data set, whatever is measured of it",
}

_HEAD = """\
# Metrics

What `python -m evaluate` measures, made from the registry (`evaluate/registry.py`) by
`python -m evaluate metrics`. A key is what a study's tables and `--require` name; an arrow says
which way is better. Where a setting of a run's `evaluation` changes a metric, the title and numbers
here are an example, and the setting is named.
"""


def every_metric() -> dict[str, Metric]:
    """All metrics by key, in a table's order, of an evaluation that asks for everything."""
    return metrics_for(_ALL)


def changed_by() -> dict[str, list[str]]:
    """Key of a metric -> the settings of `evaluation` that change what is said of it."""
    usual = every_metric()
    found: dict[str, list[str]] = {}
    for setting, how in _variants():
        for key, metric in metrics_for(how).items():
            if metric != usual.get(key):
                found.setdefault(key, []).append(f"evaluation.{setting}")
        for key in usual.keys() - metrics_for(how).keys():
            found.setdefault(key, []).append(f"evaluation.{setting}")
    return found


def _variants() -> Iterator[tuple[str, Evaluation]]:
    for setting, value in _OTHERWISE.items():
        yield setting, _ALL.model_copy(update={setting: value})
    for setting, value in _FINITE_OTHERWISE.items():
        finite = _ALL.finite.model_copy(update={setting: value})
        yield f"finite.{setting}", _ALL.model_copy(update={"finite": finite})
    for setting, value in _LATENTS_OTHERWISE.items():
        latents = _ALL.latents.model_copy(update={setting: value})
        yield f"latents.{setting}", _ALL.model_copy(update={"latents": latents})


def metrics_page(versions: bool = False) -> str:
    """Markdown: each metric with all that the registry says of it. `versions`: with those of the
    packages that are installed here."""
    every, changing = every_metric(), changed_by()
    sections = {
        "Of reconstructions": [key for key in KEYS if key in every],
        "Of samples alone": [key for key in every if key not in KEYS],
    }
    also = [key for key in KEYS if key in GENERATION_KEYS and key in every]
    parts = [_HEAD]
    for heading, keys in sections.items():
        parts.append(f"## {heading}\n")
        if heading == "Of samples alone":
            listed = ", ".join(f"`{key}`" for key in also)
            parts.append(
                f"Samples are also measured against their own reconstructions: {listed}.\n"
            )
        parts += [_entry(every[key], changing.get(key, []), versions) for key in keys]
    return "\n".join(parts)


def _entry(metric: Metric, settings: list[str], versions: bool) -> str:
    lines = {
        "title": metric.heading,
        "better": {"lower": "lower", "higher": "higher", None: "neither way"}[metric.better],
        "unit": metric.unit,
        "definition": metric.definition,
        "mean over": _OVER[metric.over],
        "needs": metric.needs,
        "settings": _settings(metric.settings),
        "changed by": ", ".join(f"`{setting}`" for setting in settings),
        "computed by": _package(metric, versions),
        "source": metric.source,
    }
    told = "\n".join(f"- {word}: {text}" for word, text in lines.items() if text)
    return f"### `{metric.key}`\n\n{told}\n"


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in flatten(settings).items())


def _package(metric: Metric, versions: bool) -> str:
    if metric.package is None:
        return ""
    return f"`{metric.package}` {metric.version}" if versions else f"`{metric.package}`"
