"""Sections of config files: how a run is measured, a study's tables and figures; and what all
sections share. Strict: no unknown key, no silent conversion.

The files themselves are in `study.schema_files`, networks and `engine` in `study.schema_training`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from study.errors import StudyError
from study.explain import explain

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=80)]
Text = Annotated[str, Field(min_length=1)]
Split = Literal["train", "eval", "test"]
Count = Annotated[int, Field(ge=1)]
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of every section: strict types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def validate(model: type[M], value: dict[str, Any], where: Path | str) -> M:
    """`value` as a `model`; StudyError names file, key path and what would have been right."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"{where}: {explain(model, error)}") from None


class BernoulliLikelihood(Section):
    """log p(x|z) = -BCE summed over pixels and channels."""

    name: Literal["bernoulli"]


class GaussianLikelihood(Section):
    """log p(x|z) of N(x̂, sigma² I), normalising constant included."""

    name: Literal["gaussian"]
    sigma: Annotated[float, Field(gt=0)] = 1.0


Likelihood = Annotated[BernoulliLikelihood | GaussianLikelihood, Field(discriminator="name")]


Lpips = Literal["vgg", "alex", "as_published"]
FeatureNet = Literal["inception", "classifier"]
SamplerName = Literal["prior", "uniform", "marginal", "gaussian", "mixture", "maf", "pixelcnn"]


class FiniteData(Section):
    """The data set holds every valid image: the distinct ones of all its splits together."""

    # Euclidean distance over pixels within which a sample reaches a valid image.
    threshold: Annotated[float, Field(gt=0)] = 3.0
    # Samples for coverage@t; D_KL takes as many as there are valid images.
    samples: Count = 10_000
    # Samples for the mean distance to the nearest valid image.
    distance_samples: Count = 1000
    # Added to the model's share of each valid image in D_KL.
    epsilon: Annotated[float, Field(gt=0)] = 1e-10


class LatentSpace(Section):
    """What is asked of the latents of the images; of models with flat latents (B x D)."""

    # Of the training split the first so many images are encoded, too.
    training_images: Count = 10_000
    # k of the purity of an image's nearest neighbours.
    neighbours: Count = 10
    # What a traversal sets one dimension to after another, the others staying the image's.
    traverse: Annotated[list[float], Field(min_length=2)] = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    # How many images are reconstructed with one dimension after another at zero.
    zeroed: Count = 8


class Evaluation(Section):
    """How a trained run is measured."""

    split: Split = "test"
    # The first so many images of the split; None: all.
    images: Count | None = None
    likelihood: Likelihood = GaussianLikelihood(name="gaussian")
    # Draws of z per image for the ELBO's expectation.
    elbo_samples: Count = 1
    # Samples of the model that are measured against their own reconstructions, for each sampler.
    samples: Count = 1000
    # How samples are drawn; None: as the source drew them (N(0, I); of a VQ-VAE uniform codes and
    # their marginal). `gaussian`, `mixture` (of ten Gaussians) and `maf` are fitted to the latents
    # of the training split, `pixelcnn` to its codes.
    samplers: Annotated[list[SamplerName], Field(min_length=1)] | None = None
    # Draws of z per image for the NLL; 0: it is not measured.
    nll_samples: Annotated[int, Field(ge=0)] = 0
    # Networks in whose features FID, KID, precision, recall, density and coverage are measured:
    # InceptionV3, whose weights have to be there, and a small classifier that is trained on the
    # data set's labels, once, where it is asked for.
    features: list[FeatureNet] = []
    # k of precision, recall, density and coverage.
    neighbours: Count = 5
    # The most samples and images that KID, precision, recall, density and coverage look at.
    feature_images: Count = 10_000
    # For data sets that hold every valid image.
    finite: FiniteData | None = None
    # Measures and pictures of the latents.
    latents: LatentSpace | None = None
    # Of reconstructions, too; of samples it always is.
    sharpness: bool = False
    # Backbones of LPIPS, one or a list (none: []); `as_published` is VGG fed [0, 1], as the talk
    # did. VGG costs 200 times what GMSD does.
    lpips: Annotated[
        list[Lpips],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=Lpips | list[Lpips],
        ),
    ] = ["vgg"]
    # Images in the pictures of reconstructions and of generations.
    pictures: Count = 16


class StudyTable(Section):
    """One table: which metrics, in which order."""

    name: Name
    title: str
    # Generation: samples of a model against their own reconstructions, a row for each sampler.
    of: Literal["reconstruction", "generation"] = "reconstruction"
    metrics: Annotated[list[str], Field(min_length=1)]


# Drawn from what `evaluation.latents` measures.
LatentFigureKind = Literal[
    "latent_histograms",
    "latent_scatter",
    "correlations",
    "traversals",
    "zeroed",
    "kl_per_dimension",
]
FigureKind = Literal[
    "reconstructions",
    "generations",
    "beta_grid",
    "three_rows",
    "self_reconstructions",
    "neighbours",
    "radar",
    "rate_distortion",
    "loss_curves",
    "loss_curve",
    LatentFigureKind,
]


class StudyFigure(Section):
    """One figure of a study.

    reconstructions, generations: a line of images for each row. beta_grid: both over β, a file for
    each run with a grid over model.beta. three_rows: original, reconstruction, generated, a file
    for each row. self_reconstructions: samples over their own reconstructions. neighbours: samples
    over the training images nearest to them. radar: metrics of
    reconstruction. rate_distortion: KL against MSE. loss_curves: all rows in one file;
    loss_curve: a file for each row.

    Of rows with `evaluation.latents`. latent_histograms: each dimension's distribution beside
    N(0, 1), by class where images have one; latent_scatter: two dimensions of each row, by class;
    correlations: of factors and latents; traversals: one dimension after another over a range, a
    row of images each; zeroed: reconstructions with one dimension after another at zero;
    kl_per_dimension: the KL of each dimension, largest first.
    """

    kind: FigureKind
    # Its file's name without .png; None: its kind.
    name: Name | None = None
    # The study's runs that it shows, by name; None: all that it can show.
    runs: Annotated[list[Name], Field(min_length=1)] | None = None
    # Radar only: its axes. None: those of the first reconstruction table that have a better end.
    metrics: Annotated[list[str], Field(min_length=3)] | None = None

    @property
    def file(self) -> str:
        """The name its files go by."""
        return self.name or self.kind


DEFAULT_FIGURES = tuple(
    StudyFigure(kind=kind) for kind in ("reconstructions", "generations", "loss_curves")
)
