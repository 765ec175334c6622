"""`history.jsonl`: every loss term of every epoch, averaged over images, and its diagnostics.

Pythae's own epoch loss is a mean of batch means, in which a short last batch weighs too much,
and holds the total alone. Here each batch's terms count by its size.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from study.files import write_text
from train.diagnostics import Diagnostic


class EpochTerms:
    """The loss terms of the batches of an epoch, and what its diagnostics count.

    Nothing waits for the device until `means` or `not_finite` asks. All values are kept until the
    epoch ends, and summed then: a run that was stopped in between adds up the very same numbers.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic] = ()) -> None:
        self.diagnostics = diagnostics
        self.sizes: list[int] = []
        # Name -> values that are gathered, and of the batches since then.
        self.gathered: dict[str, torch.Tensor] = {}
        self.recent: dict[str, list[torch.Tensor]] = {}
        # Batches that `not_finite` has looked at.
        self.looked_at = 0

    def add(self, inputs: dict[str, torch.Tensor], output: dict[str, Any]) -> None:
        """Take in one batch: what went into the model, and the losses and other scalar tensors of
        what came out (means over the batch).

        Losses of importance-weighted models come as one value a draw, and are averaged over them.
        """
        # FactorVAE's losses are means over one half of a batch, whose places it names.
        self.sizes.append(len(output.get("recon_x_indices", inputs["data"])))
        for name, value in output.items():
            if torch.is_tensor(value) and (value.ndim == 0 or name.endswith("loss")):
                value = value.detach()
                self.recent.setdefault(name, []).append(value.mean() if value.ndim else value)
        for diagnostic in self.diagnostics:
            diagnostic.add(inputs, output)

    def _gather(self) -> None:
        for name, values in self.recent.items():
            parts = [torch.stack(values).double()] if values else []
            parts = [self.gathered[name], *parts] if name in self.gathered else parts
            self.gathered[name] = torch.cat(parts)
        self.recent = {}

    def not_finite(self) -> tuple[int, dict[str, str]] | None:
        """The first batch (from 0) in which a term is NaN or infinite, and the terms that are;
        None where all are finite."""
        self._gather()
        new = {name: values[self.looked_at :] for name, values in self.gathered.items()}
        if not new or all(bool(values.isfinite().all()) for values in new.values()):
            self.looked_at = len(self.sizes)
            return None
        values = {name: self.gathered[name].cpu() for name in new}
        first = min(
            int((~v.isfinite()).nonzero()[0]) for v in values.values() if not v.isfinite().all()
        )
        terms = {name: float(v[first]) for name, v in values.items()}
        return first, {name: str(t) for name, t in terms.items() if not math.isfinite(t)}

    def means(self) -> dict[str, float]:
        """Mean of each term over the images of the epoch, and the diagnostics'; starts anew."""
        self._gather()
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        means = {
            name: float((values.cpu() * sizes).sum() / sizes.sum())
            for name, values in self.gathered.items()
        }
        self.sizes, self.gathered, self.looked_at = [], {}, 0
        for diagnostic in self.diagnostics:
            means |= diagnostic.take()
        return means

    def state(self) -> dict[str, Any]:
        """All that it holds, for a checkpoint."""
        self._gather()
        return {
            "sizes": list(self.sizes),
            "terms": dict(self.gathered),
            "diagnostics": [diagnostic.state() for diagnostic in self.diagnostics],
        }

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        """Hold what `state` gave."""
        self.sizes = list(state["sizes"])
        self.looked_at = len(self.sizes)
        self.gathered = {name: values.to(device) for name, values in state["terms"].items()}
        for diagnostic, counted in zip(self.diagnostics, state["diagnostics"], strict=True):
            diagnostic.restore(counted, device)


def learning_rates(optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, float]:
    """`learning_rate` of each optimizer; of several one for each part, `learning_rate_encoder`
    for `encoder_optimizer`."""
    return {
        f"learning_rate_{name.removesuffix('optimizer')}".rstrip("_"): one.param_groups[0]["lr"]
        for name, one in optimizers.items()
    }


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add an epoch to a `history.jsonl`."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_history(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a `history.jsonl` anew, whole."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs of a `history.jsonl`, in order; a last line that was cut short is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]
