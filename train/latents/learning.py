"""Maximum likelihood for the small networks that are fitted to latents."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from study.errors import RunFailed
from study.progress import progress
from train.latents.draws import FITTING, Noise

# The share of the rows that chooses the best weights, and the most rows that it takes for it.
_HELD_OUT, _MOST_HELD_OUT = 0.1, 2000


@dataclass(frozen=True)
class Recipe:
    """Adam over shuffled batches, its step size falling to 0 along half a cosine.

    `checks` times, evenly spread, the held-out rows are looked at; `patience` of them in a row
    without a gain end it.
    """

    steps: int
    batch: int
    rate: float
    checks: int = 20
    patience: int = 5

    def __str__(self) -> str:
        return (
            f"at most {self.steps} steps of Adam over batches of {self.batch}, step size "
            f"{self.rate:g} falling to 0, the weights that do best on a tenth held out (at most "
            f"{_MOST_HELD_OUT})"
        )


@dataclass
class Watch:
    """Fits that are cut off after `steps` steps to be timed, and what they come to.

    `spent`: seconds that the cut ones took, `whole`: that they would take with all steps of their
    recipes, which patience may end sooner.
    """

    steps: int
    spent: float = 0.0
    whole: float = 0.0

    def note(self, recipe: Recipe, begun: float, warm: float) -> None:
        """A fit that began at `begun`, and whose second step did at `warm`."""
        now = time.perf_counter()
        self.spent += now - begun
        self.whole += (now - warm) / (self.steps - 1) * recipe.steps


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(steps: int) -> Iterator[Watch]:
    """Within the block no fit takes more than `steps` (at least 2) steps."""
    before = _watch.set(Watch(steps))
    try:
        yield _watch.get()
    finally:
        _watch.reset(before)


def seeded(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """What `build` gives with torch's generator at a fixed seed; it is left as it was."""
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the accelerators, too.
        torch.default_generator.manual_seed(0)
        return build()


def fit(
    network: torch.nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    recipe: Recipe,
    what: str,
) -> None:
    """Lessen the mean of `loss` (rows -> one value each) and leave `network` with the best weights.

    On the CPU, so that a fit is the same on every machine's accelerator. RunFailed, beginning with
    `what`, where there are fewer than two rows or the loss is not finite to begin with.
    """
    if len(rows) < 2:
        raise RunFailed(f"{what}: {len(rows)} images of the training split; at least 2 are wanted")
    shuffle = Noise(0, FITTING).generator
    order = torch.from_numpy(shuffle.permutation(len(rows)))
    held = min(_MOST_HELD_OUT, max(1, round(_HELD_OUT * len(rows))))
    held_out, rest = rows[order[:held]], order[held:]
    watch, begun, warm = _watch.get(), time.perf_counter(), 0.0
    every = max(1, recipe.steps // recipe.checks)
    with torch.inference_mode(False), torch.enable_grad(), progress(recipe.steps, what) as bar:
        optimizer = torch.optim.Adam(network.parameters(), lr=recipe.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
        best, weights, since = math.inf, None, 0
        queue = rest[:0]
        for step in range(recipe.steps + 1):
            if watch is not None and step == watch.steps:
                watch.note(recipe, begun, warm)
                break
            if step == 1:
                warm = time.perf_counter()
            if step % every == 0:
                found = _mean(network, loss, held_out, recipe.batch)
                if weights is None and not math.isfinite(found):
                    raise RunFailed(f"{what}: the likelihood of latents held out is not finite")
                # NaN is no gain either; and there is no way back from it.
                since = 0 if found < best else since + 1
                if found < best:
                    best, weights = found, copy.deepcopy(network.state_dict())
                if since >= recipe.patience or not math.isfinite(found):
                    break
            if step < recipe.steps:
                if not len(queue):
                    queue = rest[torch.from_numpy(shuffle.permutation(len(rest)))]
                batch, queue = rows[queue[: recipe.batch]], queue[recipe.batch :]
                _step(network, optimizer, loss(batch).mean())
                schedule.step()
                bar.update()
        network.load_state_dict(weights)
    network.eval().requires_grad_(False)


def _step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, value: torch.Tensor) -> None:
    optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def _mean(
    network: torch.nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    batch: int,
) -> float:
    network.eval()
    with torch.no_grad():
        mean = float(torch.cat([loss(part) for part in rows.split(batch)]).double().mean())
    network.train()
    return mean
