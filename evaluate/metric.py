"""What is said of a metric, and how its keys are spelled."""

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A metric as tables name it. `better`: `lower`, `higher`, or None where neither is.

    `needs` says what a run or a machine must have for it; `over` what its mean is over: `images`,
    or, where it is one number and so has no deviation over images, of what that is: `split` (or of
    all samples), `training` (of the run's history), `data` (a count of the data set: exact).
    `source` is where the definition is from, `package` what computes it.
    """

    key: str
    title: str
    better: str | None
    unit: str
    definition: str
    settings: dict[str, Any] = field(default_factory=dict)
    package: str | None = None
    over: str = "images"
    needs: str = ""
    source: str = ""

    @property
    def heading(self) -> str:
        """The title with its direction: `MSE ↓`."""
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[self.better]
        return self.title + arrow

    @property
    def version(self) -> str | None:
        """The installed version of the package that computes it."""
        return version(self.package) if self.package else None

    def entry(self, mean: float, sd: float | None = None) -> dict[str, Any]:
        """Its place in `metrics.json`: its mean, and all that a table says of it."""
        about = asdict(self)
        del about["key"]
        return {"title": about.pop("title"), "mean": mean, "sd": sd} | about


# Under which key stands what a source printed under that name and computed otherwise.
def as_published(key: str) -> str:
    """`BCE (as published)`."""
    return f"{key} (as published)"


AS_PUBLISHED = {key: as_published(key) for key in ("BCE", "MSE", "ELBO", "LPIPS", "SSIM", "GMSD")}
# Networks whose features distances of sets are taken in, by the word of `evaluation.features`.
FEATURES = {"inception": "Inception", "classifier": "classifier"}
OF_FEATURES = ("FID", "KID", "precision", "recall", "density", "coverage")


def feature_key(metric: str, features: str) -> str:
    """`FID (Inception)`: never one under the other's name."""
    return f"{metric} ({FEATURES[features]})"
