"""A small classifier, trained by a committed recipe, in whose features sets of images are compared.

What it finds alike is what its labels find alike: its FID is no Inception FID and never called so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from evaluate.features.recipe import Recipe
from evaluate.features.targets import UNKNOWN, Targets
from study.errors import RunFailed
from study.progress import progress
from train.dataset import to_unit
from train.loader import epoch_order


class Classifier(nn.Module):
    """Convolutions of stride 2, one layer of features, and a linear head for each question.

    Nothing in it looks at other images of a batch. Weights are drawn from `recipe.seed`; torch's
    generator stays where it is.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: tuple[int, ...], recipe: Recipe
    ) -> None:
        """`shape`: the images' C x H x W."""
        super().__init__()
        self.classes = classes
        channels, sides = shape[0], list(shape[1:])
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            # Not `torch.manual_seed`, which would seed GPUs, too.
            torch.default_generator.manual_seed(recipe.seed)
            for width in _widths(max(sides), recipe):
                # Leaky: no feature dies, whose variance would be 0.
                layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(0.1)]
                channels, sides = width, [-(-side // 2) for side in sides]
            inputs = channels * sides[0] * sides[1]
            layers += [nn.Flatten(), nn.Linear(inputs, recipe.dimensions), nn.LeakyReLU(0.1)]
            self.trunk = nn.Sequential(*layers)
            self.heads = nn.Linear(recipe.dimensions, sum(classes))
        # So that distances have a scale that can be read: features of training images are of mean
        # square 1.
        self.register_buffer("scale", torch.ones(()))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """B x C x H x W in [0, 1] -> B x dimensions."""
        return self.trunk(2 * images - 1) / self.scale

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits of each question, B x classes."""
        return self.heads(self.trunk(2 * images - 1)).split(self.classes, 1)


def _widths(side: int, recipe: Recipe) -> list[int]:
    """Channels of the convolutions that bring `side` pixels to at most `recipe.side`."""
    number = 1
    while -(-side // 2**number) > recipe.side:
        number += 1
    given = recipe.channels
    return [given[0]] * (number - len(given)) + list(given[-number:])


def masked_loss(logits: tuple[torch.Tensor, ...], answers: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, the mean over all known answers; unknown ones have no gradient.

    `answers`: int64, B x questions. Of two classes it is the binary cross-entropy.
    """
    losses = [
        F.cross_entropy(head, answers[:, i], ignore_index=UNKNOWN, reduction="sum")
        for i, head in enumerate(logits)
    ]
    return torch.stack(losses).sum() / (answers != UNKNOWN).sum()


@dataclass(frozen=True)
class Score:
    """Shares of known answers on images kept apart: right ones, and those that whoever always
    names the commonest class of the training images gets right; None without such images."""

    images: int
    held_out: int
    accuracy: float | None
    chance: float | None


def train_classifier(
    images: np.ndarray, targets: Targets, recipe: Recipe, device: torch.device, what: str
) -> tuple[Classifier, Score]:
    """A classifier of uint8 images, N x C x H x W, trained on `device`, in eval mode, and how
    good it is. RunFailed where its loss is not finite. Global generators are not touched."""
    # Evaluation is in inference mode, in which nothing can be trained.
    with torch.inference_mode(False), torch.enable_grad():
        net = Classifier(tuple(images.shape[1:]), targets.classes, recipe).to(device)
        learnt, apart = _split(targets.known(), recipe)
        _fit(net, images, targets, learnt, recipe, what)
    net.requires_grad_(False).eval()
    _set_scale(net, images, learnt, recipe)
    return net, _score(net, images, targets, learnt, apart, recipe)


def _split(known: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Images to learn from, and images to be asked about afterwards."""
    order = known[epoch_order(recipe.seed, 0, len(known))]
    apart = min(len(known) // recipe.held_out_one_of, recipe.held_out_most)
    return np.sort(order[apart:]), np.sort(order[:apart])


def _batches(learnt: np.ndarray, recipe: Recipe) -> Iterator[np.ndarray]:
    """Indices of image after image, epoch after epoch, a batch at a time, all batches full."""
    left = np.empty(0, np.int64)
    for epoch in count(1):
        left = np.concatenate([left, learnt[epoch_order(recipe.seed, epoch, len(learnt))]])
        while len(left) >= recipe.batch:
            yield left[: recipe.batch]
            left = left[recipe.batch :]


def _fit(
    net: Classifier,
    images: np.ndarray,
    targets: Targets,
    learnt: np.ndarray,
    recipe: Recipe,
    what: str,
) -> None:
    device = next(net.parameters()).device
    optimizer = torch.optim.Adam(net.parameters(), recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.steps, cycle_momentum=False
    )
    batches = _batches(learnt, recipe)
    with progress(recipe.steps, what, "step") as bar:
        for _ in range(recipe.steps):
            indices = next(batches)
            batch = to_unit(images[indices]).to(device)
            loss = masked_loss(net(batch), torch.from_numpy(targets.values[indices]).to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(1)
    if not torch.isfinite(loss):
        raise RunFailed(f"{what}: its loss is not finite")


@torch.inference_mode()
def _set_scale(net: Classifier, images: np.ndarray, learnt: np.ndarray, recipe: Recipe) -> None:
    """Divide the features by their root mean square over the images that were learnt from."""
    device, squares = net.scale.device, 0.0
    for start in range(0, len(learnt), recipe.batch):
        batch = to_unit(images[learnt[start : start + recipe.batch]]).to(device)
        squares += float(net.features(batch).double().pow(2).sum())
    mean = squares / (len(learnt) * recipe.dimensions)
    # A network whose features are all 0 has no scale.
    net.scale.fill_(mean**0.5 or 1.0)


@torch.inference_mode()
def _score(
    net: Classifier,
    images: np.ndarray,
    targets: Targets,
    learnt: np.ndarray,
    apart: np.ndarray,
    recipe: Recipe,
) -> Score:
    if not len(apart):
        return Score(len(learnt), 0, None, None)
    device = next(net.parameters()).device
    answers = []
    for start in range(0, len(apart), recipe.batch):
        batch = to_unit(images[apart[start : start + recipe.batch]]).to(device)
        answers.append(torch.stack([head.argmax(1) for head in net(batch)], 1).cpu().numpy())
    truth = targets.values[apart]
    known = truth != UNKNOWN
    right = (np.concatenate(answers) == truth)[known].mean()
    seen = targets.values[learnt]
    common = [np.bincount(column[column != UNKNOWN], minlength=1).argmax() for column in seen.T]
    chance = (truth == np.array(common))[known].mean()
    return Score(len(learnt), len(apart), round(float(right), 4), round(float(chance), 4))


@torch.inference_mode()
def classifier_features(net: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Features of B x C x H x W images in [0, 1] -> B x dimensions, float32."""
    return net.features(images)
