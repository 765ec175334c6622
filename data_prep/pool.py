"""Work spread over processes, its results in order, with little of it in flight.

Workers are started afresh (spawn), so that they share nothing with a process that may have
threads. They end with their parent, also when that is killed.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from study.errors import RunFailed

Task = TypeVar("Task")
Result = TypeVar("Result")
# Enough that no worker waits for the parent, which takes the results in order.
IN_FLIGHT_PER_WORKER = 3


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _end_with_parent() -> None:
    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is over: a process half started would complain."""
    # A process started meanwhile inherits the mask: Ctrl-C, which a terminal sends to all
    # processes at once, then reaches the parent alone.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # The mask is this thread's, the signal may reach another one and still be raised here.
    arrived: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda which, _: arrived.append(which))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in arrived:
            signal.raise_signal(number)


def in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[Result, None, None]:
    """`work` of each task, in the order of `tasks`, computed by `workers` processes.

    `tasks` is drawn from as results are taken, never all at once. One worker is this process
    itself. An error in `work` is raised here, the earliest task's first; RunFailed when a worker
    dies.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_end_with_parent)
    pending: deque = deque()
    try:
        for task in tasks:
            with _interrupts_held():
                pending.append(pool.submit(work, task))
            if len(pending) >= IN_FLIGHT_PER_WORKER * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise RunFailed(
            "a decoding process died, for want of memory perhaps; fewer --workers need less"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
