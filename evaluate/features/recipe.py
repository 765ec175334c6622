"""How the classifier comes about, as data: another recipe is another classifier."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Adam on `steps` batches of `batch` images, its rate rising to `rate` and falling to 0
    (one cycle). `version` rises with every change of network, loss, order or schedule."""

    version: int = 2
    # Outputs of the layer whose activations are the features.
    dimensions: int = 64
    # Channels of the last convolutions, the last one last; earlier ones have the first's.
    channels: tuple[int, ...] = (16, 32, 64, 128)
    # Convolutions of stride 2 go on until no side is longer.
    side: int = 4
    steps: int = 600
    batch: int = 128
    rate: float = 2e-3
    # Of the first weights and of the order of the images.
    seed: int = 0
    # One image of so many is kept apart for the accuracy, `held_out_most` at most.
    held_out_one_of: int = 10
    held_out_most: int = 2000


RECIPE = Recipe()
