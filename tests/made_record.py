"""A study's record as `runs.json` holds it, made by hand."""

from evaluate.registry import metrics_for
from study.schema import BernoulliLikelihood, Evaluation

TABLE = {"name": "t", "title": "T", "metrics": ["SSIM", "KL", "ELBO"]}


def entry(key: str, mean: float, likelihood=None, interval=None) -> dict:
    """One metric of one run."""
    how = Evaluation(likelihood=likelihood or BernoulliLikelihood(name="bernoulli"))
    metric = metrics_for(how)[key]
    return {
        "title": metric.title,
        "mean": mean,
        "sd": 1.0,
        "interval": interval,
        "better": metric.better,
        "unit": metric.unit,
        "definition": metric.definition,
        "settings": metric.settings,
        "package": metric.package,
        "over": metric.over,
        "needs": metric.needs,
        "source": metric.source,
    }


def compared(key: str, best: str, p: dict[str, float], **more) -> dict:
    """A comparison of a column of `entry`'s, of reconstructions by paired bootstrap."""
    metric = entry(key, 0.0)
    about = {"of": "reconstruction", "key": key, "title": metric["title"]}
    made = {"settings": metric["settings"], "test": "paired bootstrap", "best": best, "p": p}
    return about | made | more


def reference(label: str, metrics: dict, **more) -> dict:
    """A reference row of a record."""
    cell = {"seed": None, "metrics": metrics, "images": 1234} | more
    return {"name": label, "label": label, "definition": f"what {label} is", "cells": [cell]}


def record(*rows: tuple[str, list[dict | None]], **more) -> dict:
    """Label, and the metrics of each seed (None: that run is missing)."""
    on = {"images": 1234, "data": {"subset": "1,234 of 19,867 eval images of CelebA"}}
    made = [
        {
            "name": label,
            "label": label,
            "cells": [{"seed": i, "metrics": m} | on for i, m in enumerate(cells)],
        }
        for label, cells in rows
    ]
    return {"study": "made", "rows": made, "split": "eval", "tables": [TABLE]} | more


def sampled(title: str, ssim: float, **more) -> dict:
    """What one sampler of one run gave."""
    return {"title": title, "samples": 500, "metrics": {"SSIM": entry("SSIM", ssim)}} | more


def generated() -> dict:
    """A VAE of one sampler, a VQ-VAE of two, and a model that is missing; two seeds each."""
    metrics = {"SSIM": entry("SSIM", 0.9)}
    made = record(("VAE", [metrics, metrics]), ("VQ", [metrics, metrics]), ("gone", [None, None]))
    for seed, (vae, vq) in enumerate(zip(*(row["cells"] for row in made["rows"][:2]), strict=True)):
        vae["generations"] = {"prior": sampled("z ~ N(0, I)", 0.5 + seed / 10)}
        vae["generations"]["prior"]["metrics"]["KL"] = entry("KL", 3.0 + seed)
        vq["generations"] = {
            "uniform": sampled(
                "codes drawn uniformly", 0.25 + seed / 4, definition="each code alike"
            ),
            "marginal": sampled("codes drawn from their empirical marginal", 0.125),
        }
    return made


def lines_of(markdown: str) -> list[list[str]]:
    """The cells of a table in Markdown; its second line is the rule under the head."""
    shown = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
