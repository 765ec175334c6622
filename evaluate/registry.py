"""The metrics of a run, by key, in a table's order, as its `evaluation` settles them.

`metrics.json`, tables with their footnotes, `evaluate/METRICS.md` and the CLI's help take name,
direction, unit, needs, settings and source from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluate.catalogue import FIXED
from evaluate.catalogue_latents import GENERATED, RECONSTRUCTED, latent_metrics
from evaluate.catalogue_sets import finite_metrics, set_metrics
from evaluate.metric import AS_PUBLISHED, FEATURES, OF_FEATURES, Metric, as_published, feature_key
from evaluate.metrics import lpips
from evaluate.training_terms import TRAINING, TRAINING_KEYS
from study.schema import Evaluation, GaussianLikelihood, Likelihood

_RECONSTRUCTED = (
    *("MSE", "PSNR", "BCE", "KL", "ELBO", "bits/dim", "NLL", "LPIPS", "SSIM", "GMSD"),
    *AS_PUBLISHED.values(),
    # A second backbone's; the first is `LPIPS`.
    *(f"LPIPS ({trunk.title})" for trunk in lpips.TRUNKS.values()),
)
# Numbers of a split that has been encoded, which samples have not.
_ENCODED = (
    *("perplexity", "usage", "active units"),
    *("information rate", as_published("information rate")),
    *("reconstruction bits", as_published("reconstruction bits")),
)
KEYS = (*_RECONSTRUCTED, *_ENCODED, *TRAINING_KEYS, *RECONSTRUCTED, "sharpness")
_BITS = "reconstruction bits"
FINITE = (
    *("NN valid", "coverage@t", "D_KL", as_published("coverage@t"), as_published("D_KL")),
    *("distinct images", as_published("distinct images")),
)
FINITE_ONLY = (*FINITE, _BITS, as_published(_BITS))
GENERATION_KEYS = (
    *(key for key in _RECONSTRUCTED if key != "NLL"),
    *("diversity", "sharpness", "NN data", "NN train"),
    *(feature_key(metric, features) for features in FEATURES for metric in OF_FEATURES),
    *FINITE,
    *GENERATED,
)
ORDER = tuple(
    dict.fromkeys((*_RECONSTRUCTED, *_ENCODED, *TRAINING_KEYS, *GENERATION_KEYS, *RECONSTRUCTED))
)


def lpips_keys(asked: Sequence[str]) -> dict[str, str]:
    """Metric key -> backbone, of what `evaluation.lpips` asks for, each once.

    The first backbone is `LPIPS`, another `LPIPS (AlexNet)` or `LPIPS (VGG)`; the talk's is
    VGG's too.
    """
    keys: dict[str, str] = {}
    for word in dict.fromkeys(asked):
        if word == "as_published":
            keys[AS_PUBLISHED["LPIPS"]] = "vgg"
        elif "LPIPS" in keys:
            keys[f"LPIPS ({lpips.TRUNKS[word].title})"] = word
        else:
            keys["LPIPS"] = word
    return keys


def lpips_metric(key: str, backbone: str) -> Metric:
    """LPIPS with a named trunk: another trunk is another column."""
    trunk = lpips.TRUNKS[backbone]
    scaled = "images scaled to [-1, 1], grey repeated to RGB"
    title = f"LPIPS ({trunk.title})"
    if key == AS_PUBLISHED["LPIPS"]:
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
        needs=f"the trunk's weights ({trunk.file}); images of {trunk.least} px at least",
        source="arXiv:1801.03924",
    )


def _likelihood(likelihood: Likelihood) -> str:
    if isinstance(likelihood, GaussianLikelihood):
        return f"Gaussian, σ = {likelihood.sigma:g}"
    return "Bernoulli"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}"


def likelihood_metrics(how: Evaluation) -> list[Metric]:
    """ELBO, bits per dimension and NLL: another likelihood, or number of draws, is another column.

    Bits per dimension are defined for a Gaussian likelihood alone: a BCE on grey values is no
    density of the images.
    """
    likelihood = _likelihood(how.likelihood)
    draws = _number(how.elbo_samples, "draw")
    name = likelihood if how.elbo_samples == 1 else f"{likelihood}, {draws}"
    settings = {"likelihood": how.likelihood.model_dump(), "samples": how.elbo_samples}
    about: dict[str, Any] = {"needs": "a posterior with a KL"}
    made = [
        Metric(
            "ELBO",
            f"ELBO ({name})",
            "higher",
            "nats per image",
            f"E log p(x|z) - KL with β = 1, {draws} of z per image",
            settings,
            source="arXiv:1312.6114, eq. 3",
            **about,
        )
    ]
    if isinstance(how.likelihood, GaussianLikelihood):
        made.append(
            Metric(
                "bits/dim",
                f"bits/dim ({name})",
                "lower",
                "bits per pixel and channel of 8-bit images",
                "-ELBO / (D ln 2) + 8, D pixels and channels",
                settings,
                source="arXiv:1705.07057",
                **about,
            )
        )
    if how.nll_samples:
        made.append(
            Metric(
                "NLL",
                f"NLL ({likelihood}, {_number(how.nll_samples, 'sample')})",
                "lower",
                "nats per image",
                "-log p(x) by importance sampling from q(z|x): -log of the mean of "
                "p(x|z) p(z) / q(z|x), an upper bound that falls with the number of samples",
                {"likelihood": how.likelihood.model_dump(), "samples": how.nll_samples},
                needs="a Gaussian posterior and evaluation.nll_samples",
                source="arXiv:1509.00519, eq. 8",
            )
        )
    return made


def metrics_for(
    how: Evaluation, features: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Metric]:
    """All metrics by key, in a table's order, as a run's `evaluation` settles them.

    `features` has, by the word of `evaluation.features`, the settings of each network that there
    is (whose weights, how they came about).
    """
    made = [*FIXED, *TRAINING, *likelihood_metrics(how)]
    made += [lpips_metric(key, trunk) for key, trunk in lpips_keys(how.lpips).items()]
    for word in how.features:
        made += set_metrics(word, how, dict((features or {}).get(word, {})))
    if how.finite:
        made += finite_metrics(how.finite)
    if how.latents:
        made += latent_metrics(how.latents)
    by_key = {metric.key: metric for metric in made}
    if how.sharpness:
        needs = "samples, or evaluation.sharpness"
        by_key["sharpness"] = replace(by_key["sharpness"], needs=needs)
    return {key: by_key[key] for key in ORDER if key in by_key}
