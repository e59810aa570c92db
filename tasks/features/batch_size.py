"""Batch size of extraction: reduced when memory runs out, increased while the device has free memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGEST = 512
"""Maximum batch size; larger ones were not faster on any device."""
GROWS_FROM = 64
"""Smaller batch sizes were requested explicitly and do not grow."""
SHARE_OF_FREE = 0.25
"""Maximum fraction of free memory that a larger batch may add, since other processes use the device too."""
STEADY = 3
"""Number of batches of one size before the next size."""


@dataclass(frozen=True)
class CardMemory:
    """Memory of a device in bytes."""

    free: int
    """Memory held by no process, and memory held but unused by this one."""
    peak: int
    """Peak use in this run, at least that of the largest batch."""
    used: int
    """Use between batches."""


def may_double(memory: CardMemory) -> bool:
    """Whether a batch of twice the size fits with a margin: it needs about twice the peak of the last one."""
    return max(0, memory.peak - memory.used) <= SHARE_OF_FREE * memory.free


@dataclass
class BatchGrowth:
    """When a batch doubles. `read` returns the device's memory, or None if the device does not report it."""

    largest: int
    read: Callable[[], CardMemory] | None = None
    _size: int = 0
    _steady: int = 0

    def after(self, size: int, encoded: int) -> int:
        """Size of the next batch, after a batch of `encoded` images at `size`."""
        if self.read is None or encoded < size or 2 * size > self.largest:
            return size
        self._steady = self._steady + 1 if size == self._size else 1
        self._size = size
        if self._steady % STEADY:
            return size
        return 2 * size if may_double(self.read()) else size

    def failed(self, size: int) -> None:
        """Record that a batch of `size` images did not fit; later batches stay below it."""
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
