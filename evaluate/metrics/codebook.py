"""How a codebook is used: numbers of a whole split, from the counts of its codes."""

import torch


def perplexity(counts: torch.Tensor) -> float:
    """exp of the entropy (nats) of the codes' frequencies: K counts -> 1 to K.

    K codes used equally often give K (van den Oord et al. 2017, arXiv:1711.00937).
    """
    share = counts.double() / counts.sum()
    return float(torch.special.entr(share).sum().exp())


def usage(counts: torch.Tensor) -> float:
    """Share of the K codes that were used at least once: K counts -> 0 to 1."""
    return float((counts > 0).double().mean())
