"""How many images a batch has: fewer when memory runs out, more while a card has room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGEST = 512
"""Images of a batch beyond which no card has been seen to be faster."""
GROWS_FROM = 64
"""A smaller batch was asked for, and stays."""
SHARE_OF_FREE = 0.25
"""Of what is free, what a larger batch may take besides: other processes use the card too."""
STEADY = 3
"""Batches of one size before the next."""


@dataclass(frozen=True)
class CardMemory:
    """Bytes of a device."""

    free: int
    """What no process holds, and what this one holds without using it."""
    peak: int
    """The most that was in use in this run, so at least what the largest batch took."""
    used: int
    """What is in use between batches."""


def may_double(memory: CardMemory) -> bool:
    """Whether a batch twice as large fits by far: it takes about twice what the last took at its peak."""
    return max(0, memory.peak - memory.used) <= SHARE_OF_FREE * memory.free


@dataclass
class BatchGrowth:
    """When a batch doubles. `read` returns the device's memory, or None if the device does not report it."""

    largest: int
    read: Callable[[], CardMemory] | None = None
    _size: int = 0
    _steady: int = 0

    def after(self, size: int, encoded: int) -> int:
        """The size of the next batch, when `encoded` images were a batch at `size`."""
        if self.read is None or encoded < size or 2 * size > self.largest:
            return size
        self._steady = self._steady + 1 if size == self._size else 1
        self._size = size
        if self._steady % STEADY:
            return size
        return 2 * size if may_double(self.read()) else size

    def failed(self, size: int) -> None:
        """A batch of `size` images did not fit: from now on batches stay below it."""
        self.largest = max(1, size - 1)


def card_reader(device: torch.device | None) -> Callable[[], CardMemory] | None:
    """Memory readings of a CUDA device, which do not reset its peak; None for other devices."""
    if device is None or device.type != "cuda":
        return None

    def read() -> CardMemory:
        used, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        idle = torch.cuda.memory_reserved(device) - used
        return CardMemory(torch.cuda.mem_get_info(device)[0] + idle, peak, used)

    return read
