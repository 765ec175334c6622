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

    An image at a time and `at_once` draws at a time: memory does not grow with either, and the
    draws are the same whatever the batch.
    """
    found = []
    for i in range(len(x)):
        mean, log_var = q.mean[i : i + 1], q.log_var[i : i + 1]
        one = GaussianPosterior(mean, log_var)
        total = LogMeanExp()
        for start in range(0, samples, at_once):
            count = min(at_once, samples - start)
            z = one.sample(noise.draw(count, mean.shape[1]).to(x.device))
            image = x[i : i + 1].expand(count, *x.shape[1:])
            log_weight = log_likelihood(likelihood, image, latents.decode(z)).double()
            log_weight = log_weight + log_standard_normal(z) - log_normal(z, mean, log_var)
            total.add(log_weight[:, None])
        found.append(-total.value)
    return torch.cat(found)
