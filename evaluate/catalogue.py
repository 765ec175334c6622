"""The metrics that a run's settings change little or nothing of, as the registry has them."""

from typing import Any

from evaluate.metric import AS_PUBLISHED, FEATURES, Metric, as_published, feature_key
from evaluate.metrics import gmsd, ssim
from study.schema import Evaluation, FiniteData

_PIXELS = (
    Metric(
        "MSE",
        "MSE",
        "lower",
        "squared grey level, images in [0, 1]",
        "(x - x̂)² averaged over pixels and channels",
    ),
    Metric(
        "PSNR",
        "PSNR",
        "higher",
        "dB; 100 for identical images",
        "-10 log10 of an image's MSE (data range 1), which is taken for 1e-10 where it is less",
        source="doi:10.1049/el:20080522",
    ),
    Metric(
        "BCE",
        "BCE",
        "lower",
        "nats per pixel and channel",
        "binary cross-entropy with target x, averaged over pixels and channels",
    ),
    Metric(
        "SSIM",
        "SSIM",
        "higher",
        "1 for identical images",
        "structural similarity (Wang et al. 2004), Gaussian window 11, σ 1.5",
        ssim.SETTINGS,
        "piq",
        needs="images of 11 px at least",
        source="doi:10.1109/TIP.2003.819861",
    ),
    Metric(
        "GMSD",
        "GMSD",
        "lower",
        "0 for identical images",
        "gradient magnitude similarity deviation (Xue et al. 2014), on luminance, downsampled by 2",
        gmsd.SETTINGS,
        "piq",
        source="arXiv:1308.3052",
    ),
)
_LATENTS = (
    Metric(
        "KL",
        "KL",
        None,
        "nats per image",
        "KL(q(z|x) || N(0, I)) in closed form, summed over latent dimensions",
        needs="a posterior with a KL",
        source="arXiv:1312.6114, appendix B",
    ),
    Metric(
        "perplexity",
        "Perplexity",
        None,
        "codes; at most the codebook's size",
        "exp of the entropy of the codes' frequencies over the split, all positions together",
        over="split",
        needs="a codebook",
        source="arXiv:1711.00937",
    ),
    Metric(
        "usage",
        "Codes used",
        None,
        "share of the codebook",
        "share of the codebook that is used at least once over the split",
        over="split",
        needs="a codebook",
    ),
    Metric(
        "active units",
        "Active units",
        None,
        "latent dimensions",
        "dimensions whose posterior mean has a variance above 0.01 over the split",
        {"threshold": 0.01},
        over="split",
        needs="a posterior with a KL",
        source="arXiv:1509.00519, section 2",
    ),
    Metric(
        "information rate",
        "Information rate",
        None,
        "bits per image",
        "½ Σ log2(1 + var_i / σ²): the capacity of a Gaussian channel per latent dimension, var_i "
        "the embedding's variance over the split, σ the noise that it was trained with",
        over="split",
        needs="a fixed noise on the latent (engine.latent_noise)",
    ),
    Metric(
        as_published("information rate"),
        as_published("Information rate"),
        None,
        "bits per image",
        "the same with σ in place of σ², as the course report's code had it",
        over="split",
        needs="a fixed noise on the latent (engine.latent_noise)",
    ),
)
_SAMPLES = (
    Metric(
        "diversity",
        "Diversity",
        None,
        "1 for samples as far apart as the data",
        "root mean square pixel distance of two distinct samples, over that of two images of the "
        "split",
        over="split",
        needs="samples",
    ),
    Metric(
        "sharpness",
        "Sharpness",
        None,
        "1 for samples as sharp as the data",
        "variance of the Laplacian of the luminance (3 x 3, no padding), over the mean of the "
        "split's images",
        needs="samples",
    ),
    Metric(
        "NN data",
        "NN data",
        None,
        "root mean square grey level",
        "distance of a sample to the nearest image of the measured split, over pixels and channels",
        needs="samples",
    ),
    Metric(
        "NN train",
        "NN train",
        None,
        "root mean square grey level",
        "distance of a sample to the nearest training image, over pixels and channels; near 0 is "
        "a copy",
        needs="samples",
    ),
)
# What the talk printed and computed otherwise.
_PUBLISHED = (
    Metric(
        AS_PUBLISHED["BCE"],
        AS_PUBLISHED["BCE"],
        "lower",
        "per image (VAEGAN: per pixel and channel)",
        "what the talk's code printed: the reconstruction term of Pythae's loss, ½ SSE summed "
        "over an image (VAE, β-VAE), or the mean BCE (VAEGAN); one sampled z",
        needs="VAE, β-VAE or VAEGAN",
    ),
    Metric(
        AS_PUBLISHED["ELBO"],
        AS_PUBLISHED["ELBO"],
        "lower",
        "per image",
        "what the talk's code printed, a loss: its BCE + β KL (VAE, β-VAE), or the mean squared "
        "error per pixel + KL (VAEGAN); one sampled z",
        needs="VAE, β-VAE or VAEGAN",
    ),
)
FIXED = (*_PIXELS, *_LATENTS, *_SAMPLES, *_PUBLISHED)


_FEATURES = {
    "inception": "InceptionV3 (pool3; images rounded to bytes and scaled to 299 x 299)",
    "classifier": "the classifier, of mean square 1 over its training images",
}


def set_metrics(word: str, how: Evaluation, settings: dict[str, Any]) -> list[Metric]:
    """Distances of the set of samples and the set of images in the features of `word`."""
    net = FEATURES[word]
    where = f"features of {_FEATURES[word]}"
    at_most = f"at most {how.feature_images:,} of each"

    def metric(
        name: str,
        better: str,
        unit: str,
        definition: str,
        source: str,
        more_needs: str = "",
        **more: Any,
    ) -> Metric:
        return Metric(
            feature_key(name, word),
            f"{name} ({net})",
            better,
            unit,
            f"{definition}; {where}",
            settings | more,
            package="torch-fidelity" if word == "inception" else None,
            over="split",
            needs=f"samples and evaluation.features with '{word}'{more_needs}",
            source=source,
        )

    k = how.neighbours
    return [
        metric(
            "FID",
            "lower",
            "0 for equal means and covariances",
            "Fréchet distance of two Gaussians with the sets' means and covariances",
            "arXiv:1706.08500",
            "; as many samples as features",
        ),
        metric(
            "KID",
            "lower",
            "0 for equal distributions",
            "squared maximum mean discrepancy under the kernel (x·y / d + 1)³, unbiased, mean over "
            f"subsets; {at_most}",
            "arXiv:1801.01401",
        ),
        metric(
            "precision",
            "higher",
            "share of the samples",
            f"samples within some image's ball to its {k}th neighbour; {at_most}",
            "arXiv:1904.06991",
            k=k,
        ),
        metric(
            "recall",
            "higher",
            "share of the images",
            f"images within some sample's ball to its {k}th neighbour; {at_most}",
            "arXiv:1904.06991",
            k=k,
        ),
        metric(
            "density",
            "higher",
            "1 for the data's own density",
            f"images' balls (to the {k}th neighbour) that hold a sample, over {k}; {at_most}",
            "arXiv:2002.09797",
            k=k,
        ),
        metric(
            "coverage",
            "higher",
            "share of the images",
            f"images with a sample within their ball to the {k}th neighbour (PRDC); {at_most}",
            "arXiv:2002.09797",
            k=k,
        ),
    ]


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
            {"epsilon": how.epsilon},
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
            {"epsilon": how.epsilon},
            over="split",
            needs=needs,
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
            "the same in bits, summed over a batch of 100 images, as the course report printed it",
            needs="evaluation.finite",
        ),
    ]
