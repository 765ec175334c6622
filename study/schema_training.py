"""Sections of a run file that say what is trained, and how: `networks` and `engine`."""

from typing import Annotated, Literal

from pydantic import Field

from study.schema import Count, Section


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
