"""Batches of prepared images, made ahead of the encoder by threads, in order.

Decoding, resizing and copying release the interpreter lock. What holds it is per image some Python, and per task the
exchange between threads, so a task prepares several images, each to its place in the batch. Reading all files of a task
before decoding the first leaves the processor's caches to one kind of work at a time.
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

MOST_TOGETHER = 8
"""Maximum number of images prepared by one task."""


@dataclass
class _Batch:
    """Images [b, h, w, 3], allocated with the first of them, whose size all have."""

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
    """Batches prepared by `threads` threads: an iterator, of whose batches `ahead` are under way.

    `prepare` yields the images of several rows of a batch, in order.
    `batches` gives the rows of each, and is asked when the batch is begun. A batch is uint8 [b, 3, h, w], the three
    values of a pixel side by side in memory; in pinned memory its copy to a device waits for nothing. The iterator
    raises what preparing one of a batch's images raised.
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
        """The next batch."""
        while len(self._waiting) <= self._ahead and (rows := next(self._batches, None)) is not None:
            self._waiting.append(self._begun(rows))
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().whole()

    def close(self) -> None:
        """Drop what is under way."""
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
