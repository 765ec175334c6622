"""What each metric is called, which way is better, in what unit, after whom, with what settings.

Tables, their footnotes and `metrics.json` take all of it from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluate.metrics import gmsd, lpips, ssim
from study.schema import GaussianLikelihood, Likelihood


@dataclass(frozen=True)
class Metric:
    """A metric as tables name it. `better`: `lower`, `higher`, or None where neither is.

    `over` says what its mean is over: `images`, or nothing, where it is one number of a whole
    `split` and so has no deviation over images.
    """

    key: str
    title: str
    better: str | None
    unit: str
    definition: str
    settings: dict[str, Any] = field(default_factory=dict)
    package: str | None = None
    over: str = "images"

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
    Metric(
        "perplexity",
        "Perplexity",
        None,
        "codes; at most the codebook's size",
        "exp of the entropy of the codes' frequencies over the split, all positions together",
        over="split",
    ),
    Metric(
        "usage",
        "Codes used",
        None,
        "share of the codebook",
        "share of the codebook that is used at least once over the split",
        over="split",
    ),
    Metric(
        "diversity",
        "Diversity",
        None,
        "1 for samples as far apart as the data",
        "root mean square pixel distance of two distinct samples, over that of two images of the "
        "split",
        over="split",
    ),
    Metric(
        "sharpness",
        "Sharpness",
        None,
        "1 for samples as sharp as the data",
        "variance of the Laplacian of the luminance (3 x 3, no padding), over the mean of the "
        "split's images",
    ),
)

# Under which key stands what the talk printed under that name and computed otherwise.
AS_PUBLISHED = {key: f"{key} (as published)" for key in ("BCE", "ELBO", "LPIPS")}
_PUBLISHED = (
    Metric(
        AS_PUBLISHED["BCE"],
        AS_PUBLISHED["BCE"],
        "lower",
        "per image (VAEGAN: per pixel and channel)",
        "what the talk's code printed: the reconstruction term of Pythae's loss, ½ SSE summed "
        "over an image (VAE, β-VAE), or the mean BCE (VAEGAN); one sampled z",
    ),
    Metric(
        AS_PUBLISHED["ELBO"],
        AS_PUBLISHED["ELBO"],
        "lower",
        "per image",
        "what the talk's code printed, a loss: its BCE + β KL (VAE, β-VAE), or the mean squared "
        "error per pixel + KL (VAEGAN); one sampled z",
    ),
)

_LPIPS = "LPIPS"
KEYS = (
    *("MSE", "BCE", "KL", "ELBO", "LPIPS", "SSIM", "GMSD", "perplexity", "usage"),
    *AS_PUBLISHED.values(),
    # A second backbone's; the first is `LPIPS`.
    *(f"LPIPS ({trunk.title})" for trunk in lpips.TRUNKS.values()),
)
_OF_THE_CODEBOOK = ("perplexity", "usage")
GENERATION_KEYS = (
    *(key for key in KEYS if key not in _OF_THE_CODEBOOK),
    *("diversity", "sharpness"),
)


def lpips_keys(asked: Sequence[str]) -> dict[str, str]:
    """Metric key -> backbone, of what `evaluation.lpips` asks for, each once.

    The first backbone is `LPIPS`, another `LPIPS (AlexNet)` or `LPIPS (VGG)`; the talk's is
    VGG's too.
    """
    keys: dict[str, str] = {}
    for word in dict.fromkeys(asked):
        if word == "as_published":
            keys[AS_PUBLISHED[_LPIPS]] = "vgg"
        elif _LPIPS in keys:
            keys[f"LPIPS ({lpips.TRUNKS[word].title})"] = word
        else:
            keys[_LPIPS] = word
    return keys


def lpips_metric(key: str, backbone: str) -> Metric:
    """LPIPS with a named trunk: another trunk is another column."""
    trunk = lpips.TRUNKS[backbone]
    scaled = "images scaled to [-1, 1], grey repeated to RGB"
    title = f"LPIPS ({trunk.title})"
    if key == AS_PUBLISHED[_LPIPS]:
        scaled = f"{trunk.title} fed images in [0, 1] as the talk's code did; one sampled z"
        title = key
    return Metric(
        key,
        title,
        "lower",
        "0 for identical images",
        f"learned perceptual image patch similarity (Zhang et al. 2018), {scaled}",
        {"version": lpips.VERSION, "backbone": trunk.title, "weights": trunk.file},
        "lpips",
    )


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


def metrics_for(
    likelihood: Likelihood, samples: int, asked: Sequence[str] = ("vgg",)
) -> dict[str, Metric]:
    """All metrics by key, in a table's order; `asked` is `evaluation.lpips`."""
    metrics = {metric.key: metric for metric in (*_FIXED, *_PUBLISHED)}
    metrics["ELBO"] = elbo_metric(likelihood, samples)
    metrics |= {key: lpips_metric(key, trunk) for key, trunk in lpips_keys(asked).items()}
    order = (*KEYS, *GENERATION_KEYS)
    return {key: metrics[key] for key in dict.fromkeys(order) if key in metrics}
