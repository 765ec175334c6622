"""Distances between two sets of images, in the features of a network."""

from dataclasses import dataclass, field

import torch

from evaluate.metric import feature_key
from evaluate.metrics.fid import Moments, TooFewSamples, frechet_distance
from evaluate.metrics.kid import kernel_distance
from evaluate.metrics.prdc import prdc
from study.schema import Evaluation

# Of KID's subsets, the same for every run.
SEED = 0


@dataclass
class FeatureSet:
    """Features of a set: the moments of all of them, and the first `most` themselves."""

    most: int
    moments: Moments = field(default_factory=Moments)
    parts: list[torch.Tensor] = field(default_factory=list)
    kept: int = 0

    def add(self, features: torch.Tensor) -> None:
        """B x d."""
        self.moments.add(features)
        if room := self.most - self.kept:
            self.parts.append(features[:room])
            self.kept += len(self.parts[-1])

    @property
    def features(self) -> torch.Tensor:
        """The first `most`, N x d."""
        return torch.cat(self.parts)


def compare(
    word: str, data: FeatureSet, samples: FeatureSet, how: Evaluation
) -> tuple[dict[str, float], dict[str, str]]:
    """FID, KID, precision, recall, density, coverage by key, and why one is missing."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    try:
        values["FID"] = frechet_distance(data.moments, samples.moments)
    except TooFewSamples as error:
        fewer = "images" if data.moments.count < samples.moments.count else "samples"
        missing["FID"] = f"of the {fewer}: {error}"
    real, fake = data.features, samples.features
    least = min(len(real), len(fake))
    if least > 1:
        values["KID"] = kernel_distance(real, fake, seed=SEED)[0]
    else:
        missing["KID"] = "it takes two images of each at least"
    if least > how.neighbours:
        values |= prdc(real, fake, how.neighbours)
    else:
        why = f"a {how.neighbours}th neighbour wants more than {least} images"
        missing |= dict.fromkeys(("precision", "recall", "density", "coverage"), why)
    return (
        {feature_key(key, word): value for key, value in values.items()},
        {feature_key(key, word): why for key, why in missing.items()},
    )
