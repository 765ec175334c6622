"""What samples reach of a data set that holds every valid image (the course report, AIML 425).

Both take each sample's nearest valid image, as `metrics.nearest` gives it.
"""

import torch


def coverage_at(distance: torch.Tensor, index: torch.Tensor, count: int, threshold: float) -> float:
    """Share of the `count` valid images that are the nearest to some sample within `threshold`.

    `distance` and `index` (0 to count - 1) have one value per sample; a sample at exactly the
    threshold is within.
    """
    reached = torch.bincount(index[distance <= threshold], minlength=count) > 0
    return float(reached.double().mean())


def kl_from_uniform(index: torch.Tensor, count: int, epsilon: float) -> float:
    """D(uniform over the valid images || samples' shares + ε) in bits: Σ 1/n log2(1/n / (p_i + ε)).

    p_i is the share of the samples whose nearest of the n = `count` valid images is i. It is not
    0 for a perfect sampler, which leaves images out by chance, at log2(1 / (n ε)) / n bits each.
    ValueError where there are no samples.
    """
    if not len(index):
        raise ValueError("there are no samples")
    share = torch.bincount(index, minlength=count).double() / len(index)
    return float(-((share + epsilon) * count).log2().mean())
