"""How runs fit into jobs, and jobs beside each other: arithmetic alone, in seconds and bytes."""

import heapq
import math
from collections.abc import Sequence

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def jobs_needed(work: float, start: float, limit: float, warning: float) -> int:
    """How many jobs a run of `work` seconds is, put back into the queue before each time limit.

    Each spends `start` seconds before it goes on, and is told to write its checkpoint `warning`
    seconds before `limit`. 0 where that leaves no time to work in.
    """
    room = limit - warning - start
    if room <= 0:
        return 0
    return max(1, math.ceil(work / room))


def makespan(seconds: Sequence[float], at_once: int | None) -> float:
    """When the last of these runs is done, started in this order, each as soon as there is room.

    `at_once`: how many may be at work (None: all).
    """
    busy = [0.0] * min(len(seconds), at_once or len(seconds))
    for length in seconds:
        heapq.heapreplace(busy, busy[0] + length)
    return max(busy, default=0.0)


def bytes_of(amount: str) -> int:
    """SLURM's `16G` in bytes; its units are powers of two."""
    return int(amount[:-1]) * _UNITS[amount[-1]]


def memory_to_ask(most: int) -> str:
    """`--mem` for a run that takes `most` bytes: a quarter more, in whole G."""
    return f"{max(1, math.ceil(1.25 * most / _UNITS['G']))}G"
