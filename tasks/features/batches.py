"""Batches of prepared images, made ahead of the encoder by threads, in order; and their size, which follows the memory.

Decoding, resizing and copying release the interpreter lock. It is held by some Python code per image and by the
exchange between threads per task, so a task prepares several images, each written to its position in the batch. Reading
all files of a task before decoding the first leaves the processor's caches to one kind of work at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from backbones.cpu.threads import one_core_threads

LARGEST = 512
"""Maximum batch size; larger ones were not faster on any device."""
GROWS_FROM = 64
"""Smaller batch sizes were requested explicitly and do not grow."""
SHARE_OF_FREE = 0.25
"""Maximum fraction of free memory that a larger batch may add, since other processes use the device too."""
STEADY = 3
"""Number of batches of one size before the next size."""
RECOVERED_AFTER = 16
"""Number of batches of one size after which a size that did not fit may be tried again, twice as many after each
failure: another process may have held the memory."""
MOST_TOGETHER = 8
"""Maximum number of images prepared by one task."""


@dataclass(frozen=True)
class CardMemory:
    """Memory of a device in bytes."""

    free: int
    """Memory held by no process, and memory held but unused by this one."""
    peak: int
    """Peak use in this run, at least that of the largest batch."""
    used: int
    """Use between batches."""


@dataclass
class BatchGrowth:
    """Rule for doubling the batch size. `read` returns the device's memory; None for devices that do not report it."""

    largest: int
    read: Callable[[], CardMemory] | None = None
    _size: int = 0
    _steady: int = 0
    _failed: int | None = None
    _patience: int = RECOVERED_AFTER

    def after(self, size: int, encoded: int) -> int:
        """Size of the next batch, after a batch of `encoded` images at `size`."""
        if self.read is None or encoded < size or 2 * size > self.largest:
            return size
        self._steady = self._steady + 1 if size == self._size else 1
        self._size = size
        too_early = self._failed is not None and 2 * size >= self._failed and self._steady < self._patience
        if self._steady % STEADY or too_early:
            return size
        memory = self.read()  # a batch of twice the size needs about twice the peak of the last one
        return 2 * size if memory.peak - memory.used <= SHARE_OF_FREE * memory.free else size

    def failed(self, size: int) -> None:
        """Record that a batch of `size` images did not fit; for a while, later batches stay below it."""
        if self._failed is not None and self._steady:  # else smaller parts of the same batch failed as well
            self._patience *= 2
        self._failed, self._steady = size, 0


def card_reader(device: torch.device | None) -> Callable[[], CardMemory] | None:
    """Memory readings of a CUDA device, which do not reset its peak; None for other devices."""
    if device is None or device.type != "cuda":
        return None

    def read() -> CardMemory:
        used, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        idle = torch.cuda.memory_reserved(device) - used
        return CardMemory(torch.cuda.mem_get_info(device)[0] + idle, peak, used)

    return read


@dataclass
class _Batch:
    """Images [b, h, w, 3] of one size, allocated with the first of them."""

    count: int
    pinned: bool
    images: Tensor | None = None
    tasks: list[Future[None]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def put(self, place: int, image: Tensor) -> None:
        """Copy `image` [3, h, w] to its position."""
        pixels = image.permute(1, 2, 0)
        with self._lock:
            if self.images is None:
                self.images = torch.empty((self.count, *pixels.shape), dtype=image.dtype, pin_memory=self.pinned)
        if pixels.shape != self.images.shape[1:]:
            raise ValueError(f"an image was prepared as {tuple(image.shape)}, others as {tuple(self.images.shape[1:])}")
        self.images[place].copy_(pixels)

    def whole(self) -> Tensor:
        """The batch [b, 3, h, w], once all images are prepared. Raises the exception of its first failed task."""
        for task in self.tasks:
            task.result()
        assert self.images is not None
        return self.images.permute(0, 3, 1, 2)


class PreparedImages:
    """Batches prepared by `threads` threads: an iterator that prepares `ahead` batches in advance.

    `prepare` yields the images of several rows of a batch, in order. `batches` gives the rows of each, and is advanced
    when a batch is started. A batch is uint8 [b, 3, h, w], the three values of a pixel side by side in memory; from
    pinned memory it is copied to a device asynchronously. Exceptions of `prepare` are raised by the iterator.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[int]], Iterable[Tensor]],
        batches: Iterator[Sequence[int]],
        *,
        threads: int,
        ahead: int,
        pinned: bool = False,
    ) -> None:
        self._prepare = prepare
        self._batches = batches
        self._threads = threads
        self._ahead = ahead
        self._pinned = pinned
        self._pool = one_core_threads(threads, "decode")
        self._waiting: deque[_Batch] = deque()

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        while len(self._waiting) <= self._ahead and (rows := next(self._batches, None)) is not None:
            self._waiting.append(self._begun(rows))
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().whole()

    def close(self) -> None:
        """Discard the batches in preparation."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begun(self, rows: Sequence[int]) -> _Batch:
        batch = _Batch(len(rows), self._pinned)
        together = min(MOST_TOGETHER, -(-len(rows) // self._threads))
        batch.tasks += [
            self._pool.submit(self._fill, batch, place, rows[place : place + together])
            for place in range(0, len(rows), together)
        ]
        return batch

    @torch.inference_mode()  # a fifth less time under the interpreter lock per image
    def _fill(self, batch: _Batch, place: int, rows: Sequence[int]) -> None:
        for offset, image in enumerate(self._prepare(rows)):
            batch.put(place + offset, image)
