"""What a run file and a study file may hold. Strict: no unknown key, no silent conversion."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from study.cli import MAX_SEED
from study.errors import StudyError
from study.explain import explain

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=80)]
Split = Literal["train", "eval", "test"]
Count = Annotated[int, Field(ge=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=MAX_SEED)]], Field(min_length=1)]
M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of every section: strict types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConvNet(Section):
    """Pythae's benchmark convnets for 28, 32 and 64 pixels; width 128 is Pythae's own."""

    name: Literal["convnet28", "convnet32", "convnet64"]
    width: Count = 128


class ConvGrid(Section):
    """The same convnets without their Linear: the latent is a grid of vectors (VQ-VAE only)."""

    name: Literal["convnet28_grid", "convnet32_grid", "convnet64_grid"]
    width: Count = 128
    # Height and width of the grid of codes.
    grid_side: Literal[4, 8, 16] = 8


class PlainConv(Section):
    """The experiment notes' three convolutions without normalisation; width 16 is theirs."""

    name: Literal["convnet56"]
    width: Count = 16


class Mlp(Section):
    """Fully connected layers with ReLU; `encoder` and `decoder` list the hidden widths in order."""

    name: Literal["mlp"]
    encoder: Annotated[list[Count], Field(min_length=1)]
    decoder: Annotated[list[Count], Field(min_length=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


Networks = Annotated[ConvNet | ConvGrid | PlainConv | Mlp, Field(discriminator="name")]


class LinearWarmup(Section):
    """The KL's weight rises from 0 to 1 over the first `epochs`, then stays."""

    name: Literal["linear"]
    epochs: Annotated[float, Field(gt=0)]


class CyclicWarmup(Section):
    """`cycles` times: from 0 to 1 in the first `rise` of `epochs`, then 1; after them 1.

    Fu et al. 2019 (arXiv:1903.10145): 4 cycles over all of training, rise 0.5.
    """

    name: Literal["cyclic"]
    # Length of one cycle.
    epochs: Annotated[float, Field(gt=0)]
    cycles: Count = 4
    rise: Annotated[float, Field(gt=0, le=1)] = 0.5


Warmup = Annotated[LinearWarmup | CyclicWarmup, Field(discriminator="name")]


class CheckpointEvery(Section):
    """When a run saves its state; where several are given, at each of them."""

    seconds: Annotated[float, Field(gt=0)] | None = None
    steps: Count | None = None
    epochs: Count | None = None


class Engine(Section):
    """What training needs and Pythae has no word for."""

    # What chooses the best model, on the eval split: the run's loss, or a metric of
    # reconstructions from the posterior's mean, as evaluation has it (LPIPS: VGG).
    select: Literal["loss", "MSE", "BCE", "SSIM", "GMSD", "LPIPS"] = "loss"
    # Beside when it is stopped.
    checkpoint_every: CheckpointEvery = CheckpointEvery(seconds=300.0)
    # What stays when a run is done: the best model; the last one, too; the last checkpoint with
    # the states of its optimizers, too.
    keep: Literal["best", "last", "all"] = "last"
    # Of the networks; losses are computed in float32 always.
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    channels_last: bool = False
    # torch.compile of the networks.
    compile: bool = False
    # Algorithms of cuDNN and torch that give the same bits each time, at a cost.
    deterministic: bool = False
    # A folder of the node's own disk, to which the data are copied before training; $VARIABLES of
    # the environment are filled in.
    stage_to: Annotated[str, Field(min_length=1)] | None = None
    # VAE and BetaVAE: weight of the KL over the epochs, in training only.
    kl_warmup: Warmup | None = None
    # VAE and BetaVAE: nats that each latent dimension may hold without being charged, the mean
    # over the batch (Kingma et al. 2016, arXiv:1606.04934, C.8).
    free_bits: Annotated[float, Field(gt=0)] | None = None
    # VAE and BetaVAE: the reconstruction term as a mean over pixels and channels in place of a sum
    # ("mean"), which makes the KL that many times heavier beside it.
    reduction: Literal["mean"] | None = None
    # VAE and BetaVAE: z = mean + exp(log_var) x noise in place of exp(log_var / 2), while the KL is
    # of log_var: the course report's code. Evaluation takes the posterior that is drawn from.
    sampled_std: Literal["exp_log_var"] | None = None
    # Standard deviation of the Gaussian noise added to the latent before decoding, in training
    # only (AE and WAE_MMD: a VAE has its own).
    latent_noise: Annotated[float, Field(gt=0)] | None = None
    # WAE_MMD only: sum of RBF kernels of these standard deviations, MMD with its diagonal terms
    # (the biased estimator), in place of Pythae's kernels.
    mmd_sigmas: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    # VAEGAN only: each part follows the gradient of the loss that is written for it. Without it
    # the gradients are Pythae's, whose backward passes add to each other (DEVIATIONS.md).
    vaegan_gradients: Literal["corrected"] | None = None


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


Project = Annotated[str, Field(pattern=r"^[^/\\#?%:\r\n]+$", max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(min_length=1)]


class Tracking(Section):
    """Weights & Biases, the mirror of `history.jsonl`; no part of what makes a run this run.

    The environment's `WANDB_MODE` (online, offline, disabled) overrules `mode`.
    """

    mode: Literal["off", "offline", "online"] = "off"
    # Without it the study's name, or the data set's.
    project: Project | None = None
    # For evaluation and tables; without it `project`.
    evaluation_project: Project | None = None
    entity: Text | None = None
    # Without it the study's name, its budget included.
    group: Text | None = None
    # Without it `<study>/<run>/seed-<n>`, or the run directory's name.
    name: Text | None = None
    tags: list[Tag] = []
    notes: str | None = None


class RunConfig(Section):
    """One run. `model` and `trainer` are Pythae's own JSON (`study.pythae_json` checks them)."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    # What it costs and what it should give, for people.
    comment: str | None = None
    dataset: Name
    networks: Networks
    model: dict[str, Any]
    trainer: dict[str, Any]
    engine: Engine = Engine()
    evaluation: Evaluation = Evaluation()
    tracking: Tracking = Tracking()


class StudyData(Section):
    """What `python -m data_prep DATASET` is to prepare; `options` are its options."""

    dataset: Literal["shapes", "mnist", "fashion_mnist", "celeba", "folder"]
    options: dict[str, Any] = {}
    # The folder under data/; None: the data set's own name, e.g. celeba64.
    name: Name | None = None


class StudyRun(Section):
    """One row, or one for each point of `grid` (config key -> values)."""

    name: Name
    config: str
    # Shown in tables; {model.beta} stands for that key of the run's config.
    label: str
    set: dict[str, Any] = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}


class StudyTable(Section):
    """One table: which metrics, in which order."""

    name: Name
    title: str
    # Generation: samples of a model against their own reconstructions, a row for each sampler.
    of: Literal["reconstruction", "generation"] = "reconstruction"
    metrics: Annotated[list[str], Field(min_length=1)]


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
    "latent_histograms",
    "latent_scatter",
    "correlations",
    "traversals",
    "zeroed",
    "kl_per_dimension",
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


class Budget(Section):
    """A smaller or larger way through the same study: what it changes."""

    cost: str
    # Names of the study's rows (`beta_vae-beta4.0`) that it has; None: all.
    rows: Annotated[list[str], Field(min_length=1)] | None = None
    set: dict[str, Any] = {}
    # Name of a run -> what is set in it alone.
    run_set: dict[Name, dict[str, Any]] = {}
    seeds: Seeds | None = None
    data: StudyData | None = None
    split: Split | None = None


class StudyConfig(Section):
    """Runs x grid x seeds on one data set, and the tables and figures made of them."""

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    name: Name
    title: str
    # Whose comparison it re-runs.
    source: str
    cost: str
    data: StudyData
    # The split that the tables stand on.
    split: Split
    set: dict[str, Any] = {}
    runs: Annotated[list[StudyRun], Field(min_length=1)]
    seeds: Seeds
    tables: Annotated[list[StudyTable], Field(min_length=1)]
    figures: list[StudyFigure] = list(DEFAULT_FIGURES)
    budgets: dict[Name, Budget] = {}
    # Goes over that of the run files, key by key.
    tracking: Tracking = Tracking()


def validate(model: type[M], value: dict[str, Any], where: Path | str) -> M:
    """`value` as a `model`; StudyError names file, key path and what would have been right."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"{where}: {explain(model, error)}") from None
