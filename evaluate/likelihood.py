"""log p(x|z) as `evaluation.likelihood` names it, and the NLL by importance sampling."""

import torch

from evaluate.metrics.elbo import bernoulli_log_likelihood, gaussian_log_likelihood
from evaluate.metrics.nll import LogMeanExp, log_normal, log_standard_normal
from study.schema import GaussianLikelihood, Likelihood
from train.latents.base import GaussianPosterior, Latents
from train.latents.draws import Noise


def log_likelihood(likelihood: Likelihood, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """log p(x|z) in nats, B values, x̂ the decoder's output for z."""
    if isinstance(likelihood, GaussianLikelihood):
        return gaussian_log_likelihood(x, x_hat, likelihood.sigma)
    return bernoulli_log_likelihood(x, x_hat)


def negative_log_likelihood(
    latents: Latents,
    x: torch.Tensor,
    q: GaussianPosterior,
    likelihood: Likelihood,
    samples: int,
    noise: Noise,
    at_once: int = 256,
) -> torch.Tensor:
    """-log p(x) of B images by `samples` draws from q(z|x) each, B values in float64.

    At most `at_once` latents are decoded at a time, whole images or parts of one: memory grows with
    neither, and the draws are the same whatever the batch.
    """
    together = max(1, at_once // samples)
    found = []
    for start in range(0, len(x), together):
        part = slice(start, start + together)
        images, one = x[part], GaussianPosterior(q.mean[part], q.log_var[part])
        total = LogMeanExp()
        for done in range(0, samples, at_once):
            count = min(at_once, samples - done)
            draws = noise.draw(len(images), count, q.mean.shape[1]).to(x.device)
            weights = _log_weights(latents, images, one, likelihood, draws)
            total.add(weights)
        found.append(-total.value)
    return torch.cat(found)


def _log_weights(
    latents: Latents,
    x: torch.Tensor,
    q: GaussianPosterior,
    likelihood: Likelihood,
    draws: torch.Tensor,
) -> torch.Tensor:
    """log p(x|z) p(z) / q(z|x) of B images for S draws each, B x S x D of N(0, 1): S x B."""
    count = draws.shape[1]
    mean, log_var = (part.repeat_interleave(count, 0) for part in (q.mean, q.log_var))
    z = GaussianPosterior(mean, log_var).sample(draws.flatten(0, 1))
    repeated = x.repeat_interleave(count, 0)
    found = log_likelihood(likelihood, repeated, latents.decode(z)).double()
    found = found + log_standard_normal(z) - log_normal(z, mean, log_var)
    return found.reshape(len(x), count).T
