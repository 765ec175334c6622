"""The metrics of a latent space (evaluation.latents)."""

from evaluate.metric import Metric
from evaluate.metrics.active_units import ACTIVE
from evaluate.metrics.class_information import BINS
from evaluate.metrics.reencoding import FEWEST, QUANTILE
from study.schema import LatentSpace

# In a table's order. Those of reconstructions are numbers of a split that was encoded.
FACTORS = ("size", "x", "y")
RECONSTRUCTED = (
    *("W1", "W1 (train)", "W1 (means)", "variance of means"),
    *("purity", "purity (adjusted)", "class information"),
    *(f"correlation ({name})" for name in FACTORS),
    "re-encoding",
)
GENERATED = ("re-encoding", "holes")
LATENTS_ONLY = tuple(dict.fromkeys((*RECONSTRUCTED, *GENERATED)))

_FLAT = "evaluation.latents and flat latents (no codes, sphere or ball)"
_ANCHOR = (
    "; the factors x and y are the configuration's: a circle's centre, a square's upper left "
    "corner, a triangle's apex"
)
_WASSERSTEIN = "doi:10.1137/1118101"
_Z = "a draw of q(z|x) for each image (the embedding where a model has no posterior)"


def latent_metrics(how: LatentSpace) -> list[Metric]:
    """All of them, as a run's `evaluation.latents` settles them."""
    return [*_distances(how), *_classes(how), *_correlations(), *_reencodings()]


def _distances(how: LatentSpace) -> list[Metric]:
    unit = "standard deviations of N(0, 1)"
    what = (
        "Wasserstein-1 distance to N(0, 1), whatever the model's own prior, mean over latent "
        "dimensions"
    )
    floor = (
        "; N draws of N(0, 1) itself come to about 1.2 / sqrt(N): 0.04 of 801 images, 0.012 of "
        "10,000"
    )
    training = f"the first {how.training_images:,} training images"
    about = {"over": "split", "needs": _FLAT}
    return [
        Metric("W1", "W1", None, unit, f"{what}, of {_Z}{floor}", source=_WASSERSTEIN, **about),
        Metric(
            "W1 (train)",
            "W1 (train)",
            None,
            unit,
            f"the same of {training}; its floor follows from their number",
            {"images": how.training_images},
            source=_WASSERSTEIN,
            **about,
        ),
        Metric(
            "W1 (means)",
            "W1 (means)",
            None,
            unit,
            f"{what}, of the posterior's means (or the embedding)",
            source=_WASSERSTEIN,
            **about,
        ),
        Metric(
            "variance of means",
            "Variance of means",
            None,
            "1 for latents that vary as N(0, 1)",
            "unbiased variance of the posterior's mean (or the embedding) over the split, mean "
            "over latent dimensions; near 0 where the posterior has collapsed",
            **about,
        ),
    ]


def _classes(how: LatentSpace) -> list[Metric]:
    k = how.neighbours
    about = {"over": "split", "needs": f"{_FLAT}; labels, or shapes"}
    return [
        Metric(
            "purity",
            "Purity",
            None,
            "share of the neighbours",
            f"share of an image's {k} nearest neighbours that have its class, mean over images; "
            "Euclidean distance of posterior means, the image itself not counted",
            {"k": k},
            package="scikit-learn",
            **about,
        ),
        Metric(
            "purity (adjusted)",
            "Purity (adjusted)",
            None,
            "0 for chance, 1 for neighbours of one class",
            "(purity - chance) / (1 - chance), chance the share of the other images that have an "
            "image's class, mean over images",
            {"k": k},
            package="scikit-learn",
            **about,
        ),
        Metric(
            "class information",
            "Class information",
            None,
            "1 for a dimension that tells a class from the others",
            "largest I(1[class = c]; z_d) / H(1[class = c]) over classes c and latent dimensions "
            f"d, z_d of {_Z} in {BINS} bins of equal count; above 0 by chance, too: noise of "
            "801 images of three classes in 32 dimensions comes to about 0.04",
            {"bins": BINS},
            source="doi:10.1002/047174882X, section 2.4",
            **about,
        ),
    ]


def _correlations() -> list[Metric]:
    return [
        Metric(
            f"correlation ({name})",
            f"Correlation ({name})",
            None,
            "at most 1",
            f"largest |Pearson's r| of the factor {name} with an active dimension of the "
            f"posterior's mean (or the embedding), one whose variance over the split is above "
            f"{ACTIVE}; 0 where none is" + ("" if name == "size" else _ANCHOR),
            over="split",
            needs=f"{_FLAT}; images made of the factor {name}",
        )
        for name in FACTORS
    ]


def _reencodings() -> list[Metric]:
    return [
        Metric(
            "re-encoding",
            "Re-encoding",
            None,
            "the latent's own unit",
            "root mean square over latent dimensions of z - E(D(z)), E the posterior's mean (or "
            f"the embedding); z: of an image {_Z}, of a sample what it was decoded from; latents "
            "of different scales cannot be compared, and an inactive dimension, of which D keeps "
            "nothing, adds its noise",
            needs=_FLAT,
        ),
        Metric(
            "holes",
            "Holes",
            "lower",
            "share of the samples",
            f"samples whose re-encoding is above the {100 * QUANTILE:g} % quantile of that of the "
            "split's images (z as there): 1 % where samples are as images are; inactive "
            "dimensions add noise to both sides and hide holes; not defined where none is active "
            f"(variance of means above {ACTIVE}), nor for fewer than {FEWEST} images",
            over="split",
            needs=f"samples; {_FLAT}",
        ),
    ]
