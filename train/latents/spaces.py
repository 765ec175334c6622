"""Latents of Pythae's models whose posterior or prior is no Gaussian in flat space.

Their KL has no closed form against N(0, I), or is not against N(0, I): they have no `posterior`
here, and so no KL and no ELBO. Each is drawn from its own prior.
"""

import math

import numpy as np
import torch
from pythae.models import VAE_IAF

from train.latents.base import (
    COMPONENTS,
    Encoded,
    GaussianLatents,
    GaussianPosterior,
    Latents,
    Noise,
    Sampler,
)


class AdversarialLatents(GaussianLatents):
    """Adversarial_AE: a VAE's, but for a deterministic posterior, which has no density."""

    def encode(self, x: torch.Tensor) -> Encoded:
        encoded = super().encode(x)
        if self.model.model_config.deterministic_posterior:
            return Encoded(encoded.z)
        return encoded


class FlowLatents(Latents):
    """VAE_IAF, VAE_LinNF: `z` is the base Gaussian's mean, taken through the flow.

    That is neither the mean nor the mode of what the flow makes of the Gaussian, which have no
    closed form; it is the one point of it that needs no draw.
    """

    def encode(self, x: torch.Tensor) -> Encoded:
        return Encoded(self._flow(self.model.encoder(x)["embedding"]))

    def aggregate(self, x: torch.Tensor, noise: Noise) -> torch.Tensor:
        """A draw of the base Gaussian, taken through the flow."""
        return self._flow(_draw_base(self.model.encoder(x), noise))

    def _flow(self, z: torch.Tensor) -> torch.Tensor:
        if isinstance(self.model, VAE_IAF):
            return self.model.iaf_flow.inverse(z)["out"]
        for layer in self.model.net:
            z = layer(z)["out"]
        return z


def _draw_base(output: dict[str, torch.Tensor], noise: Noise) -> torch.Tensor:
    """One draw for each image of the Gaussian that an encoder gives."""
    mean = output["embedding"]
    q = GaussianPosterior(mean, output["log_covariance"])
    return q.sample(noise.draw(*mean.shape).to(mean.device))


class SphereLatents(Latents):
    """SVAE: `z` is the von Mises-Fisher distribution's mean direction, the prior is uniform."""

    curved = True

    def encode(self, x: torch.Tensor) -> Encoded:
        return Encoded(_direction(self.model.encoder(x)["embedding"]))

    def _prior(self) -> Sampler:
        normal = super()._prior()
        return Sampler(
            "prior",
            "z uniform on the sphere",
            "z drawn uniformly from the unit sphere, the model's prior; the same draws for all "
            "models of one latent size",
            lambda count: _direction(normal.draw(count)),
        )


def _direction(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


class BallLatents(Latents):
    """PoincareVAE: `z` is the posterior's location as the encoder gives it.

    Nothing in Pythae's model keeps that inside the Poincare ball, not in training either.
    """

    curved = True

    def _prior(self) -> Sampler:
        """The model's prior, which lies around the origin: a direction and a hyperbolic radius."""
        normal = super()._prior()
        config = self.model.model_config
        # Pythae names it log-variance and takes its exponential for the standard deviation.
        scale = float(self.model._pz_logvar.exp())
        radii = Noise(0, COMPONENTS)

        def draw(count: int) -> torch.Tensor:
            vectors = normal.draw(count)
            if config.prior_distribution == "riemannian_normal":
                u = radii.uniform(count)
                radius = riemannian_radius(u, config.latent_dim, config.curvature, scale)
                radius = torch.from_numpy(radius.astype(np.float32)).to(vectors.device)
                vectors = _direction(vectors) * radius.unsqueeze(1)
            else:
                vectors = scale * vectors
            # At the origin a tangent vector is half as long as the distance it leads to.
            return self.model.latent_manifold.expmap0(vectors / 2)

        name = config.prior_distribution.replace("_", " ")
        return Sampler(
            "prior",
            f"z ~ {name}",
            f"z drawn from the model's prior, the {name} of scale {scale:g} at the origin of "
            f"the Poincare ball",
            draw,
        )


def riemannian_radius(u: np.ndarray, dim: int, curvature: float, scale: float) -> np.ndarray:
    """Distances from the mean of a Riemannian normal, by inverse transform of u in [0, 1).

    Their density is proportional to sinh(sqrt(c) r)^(dim - 1) exp(-r^2 / (2 scale^2)) (Mathieu et
    al. 2019, arXiv:1901.06033).
    """
    root = math.sqrt(curvature)
    # The mode is below the first term; the density falls from there at least as a Gaussian.
    r = np.linspace(0, (dim - 1) * root * scale**2 + (math.sqrt(dim) + 10) * scale, 20_001)[1:]
    log_sinh = root * r + np.log1p(-np.exp(-2 * root * r))
    log_density = (dim - 1) * log_sinh - r**2 / (2 * scale**2)
    cumulative = np.cumsum(np.exp(log_density - log_density.max()))
    return np.interp(u * cumulative[-1], cumulative, r)


class VampLatents(Latents):
    """VAMP: `z` is the posterior's mean, the prior a mixture of the pseudo-inputs' posteriors."""

    def aggregate(self, x: torch.Tensor, noise: Noise) -> torch.Tensor:
        return _draw_base(self.model.encoder(x), noise)

    @torch.no_grad()
    def _prior(self) -> Sampler:
        normal = super()._prior()
        model = self.model
        shape = (model.number_components, *model.model_config.input_dim)
        pseudo_inputs = model.pseudo_inputs(model.idle_input.to(self.device)).reshape(shape)
        q = model.encoder(pseudo_inputs)
        mean, std = q["embedding"], torch.exp(0.5 * q["log_covariance"])
        choice = Noise(0, COMPONENTS)

        def draw(count: int) -> torch.Tensor:
            component = (choice.uniform(count) * len(mean)).astype(np.int64)
            at = torch.from_numpy(component).to(self.device)
            return mean[at] + std[at] * normal.draw(count)

        return Sampler(
            "prior",
            "z ~ VampPrior",
            f"z drawn from the model's prior, the mixture of the posteriors of its "
            f"{len(mean)} pseudo-inputs, as its loss has it",
            draw,
        )
