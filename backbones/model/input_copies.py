"""Copies of batches to a GPU on a stream of their own, while the device computes the previous batch.

Two buffers on the device take turns. A buffer is overwritten only when the computation that reads it has ended, and
computation starts when its batch has arrived; the device keeps that order, and the host waits for neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

Mark = TypeVar("Mark")


class Streams(Protocol[Mark]):
    """Two queues of a device, of copies and of computation. Every call returns at once."""

    def allocate(self, like: Tensor) -> Tensor:
        """Memory of the device, with shape and layout of `like`, for use by copies."""

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Queue a copy to the device."""

    def computation_awaits_copies(self) -> None:
        """Computation queued later starts after the copies queued so far."""

    def computed(self) -> Mark:
        """A mark behind the computation queued so far."""

    def copies_await(self, mark: Mark) -> None:
        """Copies queued later start after the mark."""


@dataclass
class _Buffer(Generic[Mark]):
    pixels: Tensor | None = None
    read: Mark | None = None
    """Mark behind the computation that reads it."""

    def room(self, streams: Streams[Mark], batch: Tensor) -> Tensor:
        """Memory for `batch` [b, ...], allocated where the buffer is too small or of another layout."""
        held = self.pixels
        if held is None or len(held) < len(batch) or held.dtype != batch.dtype or not _alike(held, batch):
            self.pixels = held = None
            self.pixels = held = streams.allocate(batch)
        return held[: len(batch)]


@dataclass
class DoubleBuffer(Generic[Mark]):
    """Two buffers on a device that batches are copied to in turn."""

    streams: Streams[Mark]
    _buffers: tuple[_Buffer[Mark], _Buffer[Mark]] = field(default_factory=lambda: (_Buffer(), _Buffer()))
    _turn: int = 0

    @contextmanager
    def sent(self, batch: Tensor) -> Iterator[Tensor]:
        """`batch` [b, ...] on the device; inside the block, computation that reads it is queued."""
        buffer = self._buffers[self._turn]
        self._turn = 1 - self._turn
        if buffer.read is not None:
            self.streams.copies_await(buffer.read)
        pixels = buffer.room(self.streams, batch)
        self.streams.copy(pixels, batch)
        self.streams.computation_awaits_copies()
        try:
            yield pixels
        finally:
            buffer.read = self.streams.computed()


def _alike(held: Tensor, batch: Tensor) -> bool:
    """Whether the images of both have the same shape and layout."""
    return held.shape[1:] == batch.shape[1:] and held.stride() == batch.stride()


@dataclass(frozen=True)
class CudaStreams:
    """Streams of a CUDA device: a new one for copies, the current one for computation."""

    device: torch.device
    copies: torch.cuda.Stream

    @classmethod
    def of(cls, device: torch.device) -> CudaStreams:
        """With a new stream."""
        return cls(device, torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

    def allocate(self, like: Tensor) -> Tensor:
        """Memory that the allocator keeps for the stream of copies."""
        with torch.cuda.stream(self.copies):
            return torch.empty_like(like, device=self.device, pin_memory=False)

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Queue a copy from pinned memory, which is not reused before the copy has ended."""
        with torch.cuda.stream(self.copies):
            target.copy_(source, non_blocking=True)

    def computation_awaits_copies(self) -> None:
        """The current stream waits on the device."""
        torch.cuda.current_stream(self.device).wait_stream(self.copies)

    def computed(self) -> torch.cuda.Event:
        """An event of the current stream."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def copies_await(self, mark: torch.cuda.Event) -> None:
        """The stream of copies waits on the device."""
        self.copies.wait_event(mark)
