"""Batches of images on the device, gathered whole: no image is ever touched by itself.

Three ways, which give the same bits in the same order:

- direct: gathered out of the mapped file when they are asked for (CPU);
- resident: all images moved to the GPU once, as bytes, and gathered there;
- streamed: gathered by threads, some batches ahead, into pinned memory (a GPU that they do not
  fit on).
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Literal

import numpy as np
import torch
from pythae.data.datasets import DatasetOutput

from study.progress import progress
from train.dataset import ImageDataset
from train.staging import amount

Way = Literal["direct", "resident", "streamed"]
Batches = Generator[torch.Tensor, None, None]
CHUNK = 4 << 20  # bytes moved to the GPU at a time


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` images in an epoch, int64: a function of these three and no more."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def choose_way(device: torch.device, size: int) -> Way:
    """How `size` bytes of images best get to `device`. Half of a GPU's free memory is left to
    the model, which may not be there yet."""
    if device.type != "cuda":
        return "direct"
    free, _ = torch.cuda.mem_get_info(device)
    return "resident" if size <= free // 2 else "streamed"


def move_whole(images: np.ndarray, target: torch.Tensor) -> torch.Tensor:
    """Fill `target`, uint8 of the same shape, with `images`, a chunk of them at a time.

    Chunks go through one pinned buffer: the driver may take pages of a private mapping for its
    own, which would make memory of this process of them.
    """
    each = max(1, CHUNK // images[0].nbytes)
    buffer = _buffer((min(each, len(images)), *images.shape[1:]), target.device)
    with progress(images.nbytes, "images to the GPU", "B") as bar:
        for start in range(0, len(images), each):
            chunk = images[start : start + each]
            np.copyto(buffer[: len(chunk)].numpy(), chunk)
            # Blocking, so that the buffer is free for the next chunk.
            target[start : start + len(chunk)].copy_(buffer[: len(chunk)])
            bar.update(chunk.nbytes)
    return target


def _buffer(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    # Only out of pinned memory does a copy to a GPU run beside other work.
    return torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")


class _Slot:
    """A buffer for one batch, with the event after which its copy to the GPU is done."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.buffer = _buffer(shape, device)
        self.device = device
        self.copied = torch.cuda.Event(blocking=True) if device.type == "cuda" else None

    def gather(self, images: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        """Fill the buffer with `images[indices]`, once what it held has left it."""
        if self.copied is not None:
            self.copied.synchronize()  # of an event not yet recorded: returns at once
        batch = self.buffer[: len(indices)]
        # Any mode but "raise", under which numpy would gather aside first.
        np.take(images, indices, axis=0, out=batch.numpy(), mode="clip")
        return batch

    def send(self, batch: torch.Tensor) -> torch.Tensor:
        """The gathered batch on the device; nobody waits."""
        sent = batch.to(self.device, non_blocking=True)
        if self.copied is not None:
            self.copied.record(torch.cuda.current_stream(self.device))
        return sent


class BatchLoader:
    """Batches of an `ImageDataset`, float32 in [0, 1] on `device`; the last may be smaller.

    Takes the place of a `DataLoader` in Pythae's trainers, and starts an epoch at any batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        device: torch.device | str,
        seed: int | None,
        way: Way | None = None,
        prefetch: int = 4,
        workers: int = 1,
    ) -> None:
        """`seed`: of the order, another in each epoch; None is the order of the file, always.
        `way`: chosen by `choose_way` if None. `prefetch` batches are gathered ahead by `workers`
        threads where they are streamed: neither changes a batch."""
        self.dataset = dataset
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed = seed
        self.prefetch = prefetch
        self.workers = workers
        # Of the device, not a number: by a number CUDA multiplies with its rounded reciprocal,
        # and a fifth of the 256 levels would not be the CPU's bits.
        self._levels = torch.tensor(255.0, device=self.device)
        self.way = way or choose_way(self.device, dataset.file.nbytes)
        self._source = self._resident() if self.way == "resident" else None
        if self._source is None:
            self._source = torch.from_numpy(dataset.images)

    def _resident(self) -> torch.Tensor | None:
        """All images on the device; read once, they are not staged for that."""
        images = self.dataset.file
        try:
            target = torch.empty(images.shape, dtype=torch.uint8, device=self.device)
        except torch.OutOfMemoryError:  # another process took it meanwhile
            self.way = "streamed"
            return None
        return move_whole(images, target)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[DatasetOutput]:
        return self.batches(1)

    def indices(self, epoch: int, step: int) -> np.ndarray:
        """Which images batch `step` (from 0) of an epoch holds: int64."""
        return self._order(epoch)[self._place(step)]

    def _order(self, epoch: int) -> np.ndarray:
        count = len(self.dataset)
        return np.arange(count) if self.seed is None else epoch_order(self.seed, epoch, count)

    def _place(self, step: int) -> slice:
        return slice(step * self.batch_size, (step + 1) * self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> Generator[DatasetOutput, None, None]:
        """The batches of `epoch` from batch `start` on. Threads end when the generator does."""
        if not 0 <= start <= len(self):
            raise ValueError(f"batch {start} of an epoch of {len(self)}")
        take = self._streamed if self.way == "streamed" else self._gathered
        with closing(take(self._order(epoch), range(start, len(self)))) as batches:
            for batch in batches:
                yield DatasetOutput(data=batch)

    def _unit(self, images: torch.Tensor) -> torch.Tensor:
        # Bytes to floats in one pass: the result takes the type of the levels.
        return torch.div(images, self._levels)

    def _gathered(self, order: np.ndarray, steps: range) -> Batches:
        """Batches gathered where all images are."""
        # Moved once an epoch: a copy from the host at each step would wait for the GPU.
        moved = None if self.seed is None else torch.from_numpy(order).to(self._source.device)
        for step in steps:
            place = self._place(step)
            if moved is None:
                images = self._source[place]
            else:
                images = self._source.index_select(0, moved[place])
            yield self._unit(images.to(self.device))

    def _streamed(self, order: np.ndarray, steps: range) -> Batches:
        """Batches gathered ahead, by threads that are this generator's own and end with it."""
        images = self.dataset.images
        shape = (min(self.batch_size, len(images)), *images.shape[1:])
        pool = ThreadPoolExecutor(max(1, self.workers), thread_name_prefix="images")
        waiting: deque[tuple[_Slot, Future[torch.Tensor]]] = deque()
        left = iter(steps)

        def gather(slot: _Slot, step: int) -> None:
            indices = order[self._place(step)]
            waiting.append((slot, pool.submit(slot.gather, images, indices)))

        try:
            for step in islice(left, max(1, self.prefetch)):
                gather(_Slot(shape, self.device), step)
            while waiting:
                slot, gathered = waiting.popleft()
                batch = self._unit(slot.send(gathered.result()))
                # Now: on the CPU the buffer has been read, on the GPU `copied` says when.
                for step in islice(left, 1):
                    gather(slot, step)
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def describe(self) -> str:
        """Where the images are, in one phrase."""
        if self.way == "resident":
            where = "on the GPU" if self.device.type == "cuda" else "in memory"
            return f"{amount(self.dataset.file.nbytes)} of images {where}"
        ahead = ", prefetched" if self.way == "streamed" else ""
        return f"images gathered from {self.dataset.where()}{ahead}"
