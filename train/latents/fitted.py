"""Distributions fitted to the latents of the training split: Gaussian, mixture of them, MAF.

All three are of latents moved and turned so that they have mean 0 and covariance I, and are taken
back: what a fit gives does not hang on the latents' scale, and a MAF begins where the Gaussian is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from study.errors import RunFailed
from train.latents.draws import COMPONENTS, FITTING, SAMPLES, Blocks, Noise, Sampler, draw_codes
from train.latents.learning import Recipe, fit, seeded

_WHAT = (
    "the latents of the training split: of each image one draw of q(z|x), or its embedding where "
    "the model has no posterior"
)

# Added to the covariance's diagonal, as a share of the mean variance: a dimension that is never
# used has no variance.
_RIDGE = 1e-6

_COMPONENTS, MOST_FOR_MIXTURE = 10, 50_000

_MAF_BLOCKS, _MAF_LAYERS, _MAF_WIDTH = 4, 2, 128
# Without a bound the far ends of a sample in one dimension are exponents in the next.
_MAF_SCALE = 2.0
_MAF = Recipe(steps=3000, batch=512, rate=1e-3)


@dataclass(frozen=True)
class Affine:
    """z = mean + root n: the Gaussian of latents where n ~ N(0, I); `root` is lower triangular."""

    mean: np.ndarray
    root: np.ndarray
    # What was added to each dimension's variance.
    ridge: float

    @classmethod
    def of(cls, z: np.ndarray) -> "Affine":
        """Of N x D latents. RunFailed where there is no Gaussian of them."""
        if not np.isfinite(z).all():
            raise RunFailed(
                "latents of the training split are not finite: nothing can be fitted to them"
            )
        if len(z) < 2:
            raise RunFailed(f"{len(z)} latents of the training split; at least 2 are wanted")
        mean = z.mean(0, dtype=np.float64)
        covariance = np.atleast_2d(np.cov(z, rowvar=False, dtype=np.float64))
        ridge = _RIDGE * np.trace(covariance) / len(mean)
        if not 0 < ridge < math.inf:
            raise RunFailed(
                "the latents of all images of the training split are the same, or too large for "
                "a covariance: nothing can be fitted to them"
            )
        return cls(mean, np.linalg.cholesky(covariance + ridge * np.eye(len(mean))), ridge)

    def to(self, n: np.ndarray) -> np.ndarray:
        """N x D float32 latents of the n."""
        return (self.mean + n @ self.root.T).astype(np.float32)

    def back(self, z: np.ndarray) -> np.ndarray:
        """N x D float64 n of the latents."""
        return np.linalg.solve(self.root, (z - self.mean).T).T


def gaussian(z: np.ndarray) -> Sampler:
    """The Gaussian of N x D latents."""
    affine = Affine.of(z)
    noise = Noise(0, SAMPLES)
    return Sampler(
        "gaussian",
        "z ~ Gaussian of the aggregate posterior",
        f"z drawn from the Gaussian with the mean and the full covariance (its diagonal raised by "
        f"{_RIDGE:g} of the mean variance) of {_WHAT}",
        Blocks(lambda count: affine.to(_normal(noise, count, z))).draw,
    )


def mixture(z: np.ndarray) -> Sampler:
    """Ten Gaussians of N x D latents; fewer where there are too few latents for ten."""
    from sklearn.mixture import GaussianMixture

    affine = Affine.of(z)
    used = z[np.linspace(0, len(z) - 1, min(len(z), MOST_FOR_MIXTURE)).round().astype(np.int64)]
    # A full covariance takes more points than dimensions.
    count = max(1, min(_COMPONENTS, len(used) // (z.shape[1] + 1)))
    found = GaussianMixture(count, reg_covar=_RIDGE, random_state=0).fit(affine.back(used))
    roots = np.linalg.cholesky(found.covariances_)
    cumulative = found.weights_.cumsum()
    noise, choice = Noise(0, SAMPLES), Noise(0, COMPONENTS)

    def make(count: int) -> np.ndarray:
        at = draw_codes(choice.uniform(count), cumulative)
        n = np.einsum("bij,bj->bi", roots[at], _normal(noise, count, z))
        return affine.to(found.means_[at] + n)

    return Sampler(
        "mixture",
        "z ~ mixture of ten Gaussians of the aggregate posterior",
        f"z drawn from the mixture of {_COMPONENTS} Gaussians with full covariances (fewer where "
        f"there are fewer latents than that times the dimensions and one) that scikit-learn's "
        f"GaussianMixture (reg_covar {_RIDGE:g}, random_state 0) fits, whitened, to {_WHAT}; to "
        f"at most {MOST_FOR_MIXTURE} of them, evenly spread",
        Blocks(make).draw,
    )


def maf(z: np.ndarray) -> Sampler:
    """A masked autoregressive flow of N x D latents (Papamakarios et al. 2017, arXiv:1705.07057).

    The network is Pythae's; its sampler's `fit` is not taken, which seeds torch anew, writes
    folders named by the second and refuses data whose largest value is below 1.
    """
    affine = Affine.of(z)
    flow = seeded(lambda: _flow(z.shape[1]))
    # The Gaussian's ridge, as noise: without it a dimension that is never used is a likelihood
    # without bounds.
    noisy = z + math.sqrt(affine.ridge) * Noise(1, FITTING).draw(*z.shape).double().numpy()
    rows = torch.from_numpy(affine.back(noisy).astype(np.float32))
    fit(flow, lambda part: maf_loss(flow, part), rows, _MAF, "fit maf")
    noise = Noise(0, SAMPLES)

    @torch.no_grad()
    def make(count: int) -> np.ndarray:
        drawn = flow.inverse(noise.draw(count, z.shape[1])).out
        return affine.to(drawn.double().numpy())

    return Sampler(
        "maf",
        "z ~ MAF of the aggregate posterior",
        f"z drawn from Pythae's masked autoregressive flow ({_MAF_BLOCKS} MADE of {_MAF_LAYERS} "
        f"hidden layers of {_MAF_WIDTH}, no batch norm, log-scales within ±{_MAF_SCALE:g}) fitted "
        f"by maximum likelihood, {_MAF}, to, whitened and with noise of {_RIDGE:g} of the mean "
        f"variance, {_WHAT}",
        Blocks(make).draw,
    )


def maf_loss(flow: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """-log p(x) in nats, one value a row."""
    out = flow(x)
    constant = 0.5 * math.log(2 * math.pi) * x.shape[1]
    return 0.5 * out.out.square().sum(1) + constant - out.log_abs_det_jac


def _flow(dimensions: int) -> torch.nn.Module:
    from pythae.models.normalizing_flows import MADE, MAF, MAFConfig

    flow = MAF(
        MAFConfig(
            input_dim=(dimensions,),
            n_made_blocks=_MAF_BLOCKS,
            n_hidden_in_made=_MAF_LAYERS,
            hidden_size=_MAF_WIDTH,
        )
    )
    for made in flow.net:
        if isinstance(made, MADE):
            # The identity to begin with, and so the Gaussian.
            torch.nn.init.zeros_(made.net[-1].weight)
            torch.nn.init.zeros_(made.net[-1].bias)
            made.net.append(_Bounded())
    return flow


class _Bounded(torch.nn.Module):
    """The last step of a MADE: means as they are, log-scales bent to lie within `_MAF_SCALE`."""

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        mean, log_scale = output.chunk(2, 1)
        return torch.cat([mean, _MAF_SCALE * torch.tanh(log_scale / _MAF_SCALE)], 1)


def _normal(noise: Noise, count: int, z: np.ndarray) -> np.ndarray:
    return noise.draw(count, z.shape[1]).double().numpy()


FITTED: dict[str, Callable[[np.ndarray], Sampler]] = {
    "gaussian": gaussian,
    "mixture": mixture,
    "maf": maf,
}
