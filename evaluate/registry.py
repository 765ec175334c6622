"""What each metric is called, which way is better, in what unit, after whom, with what settings.

Tables, their footnotes and `metrics.json` take all of it from here.
"""

from dataclasses import dataclass, field
from typing import Any

from evaluate.metrics import gmsd, ssim
from study.schema import GaussianLikelihood, Likelihood


@dataclass(frozen=True)
class Metric:
    """A metric as tables name it. `better`: `lower`, `higher`, or None where neither is."""

    key: str
    title: str
    better: str | None
    unit: str
    definition: str
    settings: dict[str, Any] = field(default_factory=dict)
    package: str | None = None

    @property
    def heading(self) -> str:
        """The title with its direction: `MSE ↓`."""
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[self.better]
        return self.title + arrow


_FIXED = (
    Metric(
        "MSE",
        "MSE",
        "lower",
        "squared grey level, images in [0, 1]",
        "(x - x̂)² averaged over pixels and channels",
    ),
    Metric(
        "BCE",
        "BCE",
        "lower",
        "nats per pixel and channel",
        "binary cross-entropy with target x, averaged over pixels and channels",
    ),
    Metric(
        "KL",
        "KL",
        None,
        "nats per image",
        "KL(q(z|x) || N(0, I)) in closed form, summed over latent dimensions",
    ),
    Metric(
        "SSIM",
        "SSIM",
        "higher",
        "1 for identical images",
        "structural similarity (Wang et al. 2004), Gaussian window 11, σ 1.5",
        ssim.SETTINGS,
        "piq",
    ),
    Metric(
        "GMSD",
        "GMSD",
        "lower",
        "0 for identical images",
        "gradient magnitude similarity deviation (Xue et al. 2014), on luminance, downsampled by 2",
        gmsd.SETTINGS,
        "piq",
    ),
)

KEYS = ("MSE", "BCE", "KL", "ELBO", "SSIM", "GMSD")
GENERATION_KEYS = KEYS


def elbo_metric(likelihood: Likelihood, samples: int) -> Metric:
    """The ELBO under a named likelihood: another likelihood is another column."""
    if isinstance(likelihood, GaussianLikelihood):
        name = f"Gaussian, σ = {likelihood.sigma:g}"
    else:
        name = "Bernoulli"
    draws = f"{samples} draw{'s' if samples > 1 else ''} of z per image"
    return Metric(
        "ELBO",
        f"ELBO ({name})" if samples == 1 else f"ELBO ({name}, {samples} draws)",
        "higher",
        "nats per image",
        f"E log p(x|z) - KL with β = 1, {draws}",
        {"likelihood": likelihood.model_dump(), "samples": samples},
    )


def metrics_for(likelihood: Likelihood, samples: int) -> dict[str, Metric]:
    """All metrics, by key."""
    metrics = {metric.key: metric for metric in _FIXED}
    return metrics | {"ELBO": elbo_metric(likelihood, samples)}
