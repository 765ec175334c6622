"""The metrics of sets of samples: in a network's features, and on finite data sets."""

from typing import Any

from evaluate.metric import FEATURES, Metric, as_published, feature_key
from study.schema import Evaluation, FiniteData

_FEATURES = {
    "inception": "InceptionV3 (pool3; images rounded to bytes and scaled to 299 x 299 by "
    "torch-fidelity)",
    "classifier": "the classifier, of mean square 1 over its training images",
}
# Name, better, unit, definition ({k}: `evaluation.neighbours`), source.
_OF_SETS = (
    (
        "FID",
        "lower",
        "0 for equal means and covariances",
        "Fréchet distance of two Gaussians with the sets' means and covariances",
        "arXiv:1706.08500",
    ),
    (
        "KID",
        "lower",
        "0 for equal distributions",
        "squared maximum mean discrepancy under the kernel (x·y / d + 1)³, unbiased, mean over 100 "
        "subsets of at most 1,000",
        "arXiv:1801.01401",
    ),
    (
        "precision",
        "higher",
        "share of the samples",
        "samples within some image's ball to its neighbour {k}",
        "arXiv:1904.06991",
    ),
    (
        "recall",
        "higher",
        "share of the images",
        "images within some sample's ball to its neighbour {k}",
        "arXiv:1904.06991",
    ),
    (
        "density",
        "higher",
        "1 for the data's own density",
        "images' balls (to neighbour {k}) that hold a sample, over {k}",
        "arXiv:2002.09797",
    ),
    (
        "coverage",
        "higher",
        "share of the images",
        "images with a sample within their ball to neighbour {k} (PRDC)",
        "arXiv:2002.09797",
    ),
)


def set_metrics(word: str, how: Evaluation, settings: dict[str, Any]) -> list[Metric]:
    """Distances of the set of samples and the set of images in the features of `word`.

    They depend on how many there are: other numbers are other columns.
    """
    counts = {"samples": how.samples, "images": how.images or "all"}
    made = []
    for name, better, unit, definition, source in _OF_SETS:
        own, needs = dict(counts), f"samples and evaluation.features with '{word}'"
        if name == "FID":
            needs += "; as many samples and images as features"
        else:
            own["at most"] = how.feature_images
        if "{k}" in definition:
            own["k"] = how.neighbours
        made.append(
            Metric(
                feature_key(name, word),
                f"{name} ({FEATURES[word]})",
                better,
                unit,
                f"{definition.format(k=how.neighbours)}; features of {_FEATURES[word]}",
                settings | own,
                over="split",
                needs=needs,
                source=source,
            )
        )
    return made


def finite_metrics(how: FiniteData) -> list[Metric]:
    """Of a data set that holds every valid image: what of it samples reach."""
    t, draws = f"{how.threshold:g}", f"{how.samples:,}"
    needs = "samples and evaluation.finite"
    report = "as the course report's code had it: every configuration counts as a valid image, so "
    report += "that of those with the same image only the first is ever the nearest"
    of_samples = {"threshold": how.threshold, "samples": how.samples}
    bits = "bits; the perfect sampler's row says what a finite number of samples gives"
    kl = "D(uniform over the valid images || share of samples nearest to each, + ε)"
    return [
        Metric(
            "NN valid",
            "NN valid",
            "lower",
            "Euclidean distance over pixels",
            "distance of a sample to the nearest valid image",
            {"samples": how.distance_samples},
            needs=needs,
        ),
        Metric(
            "coverage@t",
            f"Coverage@{t}",
            "higher",
            "share of the valid images",
            f"valid images that are the nearest to some of {draws} samples within distance {t}",
            of_samples,
            over="split",
            needs=needs,
        ),
        Metric(
            "D_KL",
            "D_KL",
            "lower",
            bits,
            f"{kl}; as many samples as valid images",
            {"epsilon": how.epsilon, "samples": "as many as valid images"},
            over="split",
            needs=needs,
        ),
        Metric(
            as_published("coverage@t"),
            as_published(f"Coverage@{t}"),
            "higher",
            "share of the configurations",
            f"the same, {report}",
            of_samples,
            over="split",
            needs=needs,
        ),
        Metric(
            as_published("D_KL"),
            as_published("D_KL"),
            "lower",
            bits,
            f"the same, {report}; as many samples as configurations",
            {"epsilon": how.epsilon, "samples": "as many as configurations"},
            over="split",
            needs=needs,
        ),
        Metric(
            "distinct images",
            "distinct images",
            None,
            "images",
            "valid images, those that look the same counted once",
            over="data",
            needs="evaluation.finite",
        ),
        Metric(
            as_published("distinct images"),
            as_published("distinct images"),
            None,
            "configurations",
            "valid configurations, as the course report counted its images: every one, those with "
            "the same image, too",
            over="data",
            needs="evaluation.finite",
        ),
        Metric(
            "reconstruction bits",
            "Reconstruction bits",
            "lower",
            "bits per image",
            "binary cross-entropy summed over an image, in bits",
            needs="evaluation.finite",
        ),
        Metric(
            as_published("reconstruction bits"),
            as_published("Reconstruction error"),
            "lower",
            "per batch of 100 images",
            "binary cross-entropy in bits, summed over a batch of 100 images, as the course report "
            "printed it",
            needs="evaluation.finite",
        ),
    ]
