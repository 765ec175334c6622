"""The numbers of a source beside ours: a panel for each metric, ours over theirs."""

import math
from pathlib import Path
from typing import Any

from evaluate.claims.formats import WORDS
from evaluate.claims.judge import Verdict
from evaluate.claims.schema import Reference, Value
from evaluate.pictures import COLOURS, plain_log, save_figure, wrap

_MARKS = dict(zip(WORDS, ((0, "o"), (3, "X"), (1, "D"), (2, "s"), (5, "v"), (4, "^")), strict=True))
# Inches, of a panel.
WIDTH = 5.2
# From this factor between its ends on an axis is logarithmic.
SPREAD = 5.0


def draw_verdicts(verdicts: list[Verdict], reference: Reference, study: str, path: Path) -> bool:
    """Draw every value that has a number of ours; False, and nothing, where there is none.

    A number that is not above zero has no ratio on a logarithmic axis and is left out.
    """
    from matplotlib import pyplot as plt

    panels: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if isinstance(verdict.claim, Value) and _drawable(verdict):
            metric = verdict.claim.as_published or verdict.claim.metric
            panels.setdefault(metric, []).append(verdict)
    if not panels:
        return False
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    counted = [len(part) for part in panels.values()]
    heights = [0.9 + 0.24 * max(counted[i * columns : (i + 1) * columns]) for i in range(lines)]
    canvas, axes = plt.subplots(
        lines,
        columns,
        figsize=(WIDTH * columns, sum(heights) + 0.9),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    flat = list(axes.flat)
    for axis, (metric, part) in zip(flat, panels.items(), strict=False):
        _draw_panel(axis, metric, part, [_label(v, reference) for v in part])
    for axis in flat[len(panels) :]:
        axis.axis("off")
    _legend(canvas, [v for part in panels.values() for v in part])
    canvas.suptitle(
        wrap(f"{study}: our number over the source's", WIDTH * columns, 10), fontsize=10
    )
    save_figure(canvas, path)
    return True


def _drawable(verdict: Verdict) -> bool:
    if verdict.numbers is None:
        return False
    theirs, ours = verdict.numbers
    return theirs[1] > 0 and ours[1] > 0


def _draw_panel(axis: Any, metric: str, part: list[Verdict], labels: list[str]) -> None:
    for place, verdict in enumerate(part):
        assert verdict.numbers is not None
        theirs, ours = ([end / verdict.numbers[0][1] for end in ends] for ends in verdict.numbers)
        axis.barh(place, theirs[2] - theirs[0], left=theirs[0], height=0.8, color="0.78", zorder=1)
        number, marker = _MARKS[verdict.verdict]
        low = max(ours[0], ours[1] / 100)  # a lower end below zero has no place on the axis
        axis.plot([low, ours[2]], [place, place], "-", color=COLOURS[number], lw=1.5, zorder=2)
        axis.plot(ours[1], place, marker, color=COLOURS[number], ms=5, zorder=3)
    axis.axvline(1, color="0.6", lw=0.7, zorder=0)
    left, right = axis.get_xlim()
    if min(left, 0.8) <= 0 or max(right, 1.25) / min(left, 0.8) > SPREAD:
        axis.set_xscale("log")
        plain_log(axis.xaxis)
        left, right = axis.get_xlim()
    axis.set_xlim(min(left, 0.8), max(right, 1.25))
    axis.set_yticks(range(len(part)), labels, fontsize=7)
    axis.set_ylim(len(part) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(metric, fontsize=9, loc="left")
    axis.grid(axis="x", alpha=0.25)


def _label(verdict: Verdict, reference: Reference) -> str:
    claim = verdict.claim
    assert isinstance(claim, Value)
    sampler = f", samples ({verdict.sampler})" if verdict.sampler else ""
    # The panel is of the number as the source computed it, where it did so otherwise.
    defined = ", as defined" if verdict.metric != (claim.as_published or claim.metric) else ""
    return reference.rows[claim.row].label + sampler + defined


def _legend(canvas: Any, shown: list[Verdict]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color="0.78", label="the source's rounding")]
    for word in WORDS:
        if any(verdict.verdict == word for verdict in shown):
            number, marker = _MARKS[word]
            style = {"marker": marker, "color": COLOURS[number], "ms": 5, "lw": 1.5}
            handles.append(Line2D([], [], label=word, **style))
    canvas.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
