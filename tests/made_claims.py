"""A source and a study's record of it, made by hand so that every verdict is known."""

from typing import Any

from evaluate.claims.judge import Verdict, judge
from evaluate.claims.schema import Reference, check_reference, read_reference
from study.provenance import ROOT
from study.schema import validate
from tests.made_record import entry, record, sampled

# The sources' own claims, and the studies that are configured.
FOLDER = ROOT / "results/reference"
FILES = sorted(FOLDER.glob("*.json"))
CONFIGURED = {path.stem: path for path in ROOT.glob("configs/studies/*.json")}

COMMAND = "python reproduce.py configs/studies/made.json --budget small"
FULL = "python reproduce.py configs/studies/made.json"
# What the made source trained and measured on; our runs below do the same.
MEASURED = {
    "split": "eval",
    "images": 1000,
    "image_size": 28,
    "training_images": 8000,
    "epochs": 10,
}
ROWS = {name: {"label": name.upper()} for name in ("a", "b", "c")}
# A bare number has an interval of no width; a dict is an entry of a metric as it is.
Mean = float | tuple[float, list[float] | None] | dict[str, Any]


def value(number: float = 0.015, decimals: int = 3, **more: Any) -> dict:
    """A number of row `a`."""
    about = {"id": "v", "kind": "value", "text": "MSE", "place": "Table I", "basis": "stated"}
    made = about | {"row": "a", "sampler": None, "metric": "MSE"}
    return made | {"number": number, "decimals": decimals} | more


def trend(direction: str = "rises", **more: Any) -> dict:
    """Of MSE over the rows a, b, c."""
    about = {"id": "t", "kind": "trend", "text": "over β", "place": "text", "basis": "stated"}
    made = about | {"rows": ["a", "b", "c"], "sampler": None, "metric": "MSE"}
    return made | {"direction": direction} | more


def order(*than: str, direction: str = "lower", **more: Any) -> dict:
    """MSE of row a against that of others."""
    about = {"id": "o", "kind": "order", "text": "a is best", "place": "text", "basis": "stated"}
    made = about | {"row": "a", "sampler": None, "metric": "MSE", "direction": direction}
    return made | {"than": [{"row": row} for row in than or ("b",)]} | more


def exists(**more: Any) -> dict:
    """A bound of MSE of row a."""
    about = {"id": "e", "kind": "exists", "text": "bound", "place": "text", "basis": "stated"}
    return about | {"row": "a", "sampler": None, "metric": "MSE"} | more


def figure(**more: Any) -> dict:
    """A figure of the source, `made_figure` among the study's."""
    about = {"id": "f", "kind": "figure", "text": "shown", "place": "figures", "basis": "stated"}
    return about | {"figure": "made_figure"} | more


def picture(name: str, *files: str) -> dict[str, Any]:
    """A figure as a record has it."""
    made = {"kind": "generations", "name": name, "files": list(files)}
    return made | {"title": "Generations", "caption": "Samples."}


def reference(*claims: dict, **more: Any) -> Reference:
    """The made source with these claims; `measured` and `rows` may be changed."""
    made: dict[str, Any] = {"study": "made", "source": "a source", "measured": MEASURED}
    made |= {"rows": ROWS, "claims": list(claims)} | more
    return check_reference(validate(Reference, made, "made.json"), "made.json")


def of(name: str) -> Reference:
    """A source's own claims."""
    return read_reference(FOLDER / f"{name}.json")


def cells(means: dict[str, Mean]) -> dict[str, Any]:
    """Metrics of one seed: key -> mean, or mean and bootstrap interval (None: none)."""
    made = {}
    for key, mean in means.items():
        if isinstance(mean, dict):
            made[key] = mean
            continue
        number, interval = mean if isinstance(mean, tuple) else (mean, [mean, mean])
        made[key] = entry(key, number) | {"interval": interval}
    return made


def measured(mean: float, interval: list[float] | None = None, **more: Any) -> dict[str, Any]:
    """An entry of a metric whose title or settings are another's; `settings=` and so on."""
    about = {"title": "M", "definition": "a metric", "settings": {}, "mean": mean}
    return about | {"interval": interval or [mean, mean]} | more


def drawn(made: dict, row: str, sampler: str, *seeds: dict[str, Mean], samples: int = 64) -> None:
    """Give a row's seeds these samples."""
    (found,) = [known for known in made["rows"] if known["name"] == row]
    for cell, means in zip(found["cells"], seeds, strict=True):
        about = sampled(sampler, 0.5, samples=samples) | {"metrics": cells(means)}
        cell.setdefault("generations", {})[sampler] = about


def study(
    *,
    epochs: int = 10,
    images: int = 8000,
    size: int = 28,
    budget: str | None = "small",
    command: str = COMMAND,
    **rows: Any,
) -> dict:
    """The record of a study: row -> MSE of each seed, or metrics of each seed, or None for a
    seed that is missing."""
    made = []
    for name, seeds in rows.items():
        known = [{"MSE": s} if isinstance(s, float | tuple) else s for s in seeds]
        made.append((name, [None if s is None else cells(s) for s in known]))
    built = record(*made, study="made-small", title="Made", budget=budget, command=command)
    for cell in (cell for row in built["rows"] for cell in row["cells"]):
        cell["data"] = {"images": {"train": images}, "subset": None}
        cell["config"] = {
            "model": {"input_dim": [1, size, size], "latent_dim": 10},
            "networks": {"width": 16, "encoder": [512, 256]},
            "trainer": {"num_epochs": epochs},
        }
    return built


def verdict(made: dict | None, claim: dict, *, command: str = COMMAND, **more: Any) -> Verdict:
    """Of one claim."""
    (only,) = judge(made, reference(claim, **more), command)
    return only


def word(made: dict | None, claim: dict, **more: Any) -> str:
    """Its word alone."""
    return verdict(made, claim, **more).verdict
