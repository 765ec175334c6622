"""The metrics that a run's settings change little or nothing of, as the registry has them."""

from dataclasses import replace

from evaluate.metric import AS_PUBLISHED, Metric, as_published
from evaluate.metrics import gmsd, ssim

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
        needs="VAE, β-VAE or VAEGAN; no engine.reduction, no engine.sampled_std",
    ),
    *(
        replace(
            metric,
            key=AS_PUBLISHED[metric.key],
            title=AS_PUBLISHED[metric.key],
            definition=f"{metric.definition}; of one sampled z, as the talk's code had it",
            needs="VAE, β-VAE or VAEGAN",
        )
        for metric in _PIXELS
        if metric.key in ("MSE", "SSIM", "GMSD")
    ),
)
FIXED = (*_PIXELS, *_LATENTS, *_SAMPLES, *_PUBLISHED)
