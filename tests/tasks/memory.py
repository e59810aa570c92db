"""Memory counted instead of measured: the bytes of all tensors and arrays alive at the same time.

`peak_bytes` counts after every operation of one thread; `PeakListener` at reports, of all threads.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.reporter import SilentReporter


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every tensor created by an operation; other memory is counted by tracemalloc."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and _ours(tensor):
                storage = tensor.untyped_storage()
                self.alive[id(tensor)] = (weakref.ref(tensor), storage.data_ptr(), storage.nbytes())
        self.alive = {key: found for key, found in self.alive.items() if found[0]() is not None}
        storages = {place: size for _, place, size in self.alive.values()}
        arrays = tracemalloc.get_traced_memory()[0]
        self.peak = max(self.peak, sum(storages.values()) + arrays)
        return made


def peak_bytes(work: Callable[[], object]) -> int:
    """Peak size in bytes of the tensors and arrays created by `work`, sampled after each operation of torch.

    The work is done twice, the first time for lazy imports of torch.
    """
    with _Counting(), torch.no_grad():
        work()
    tracemalloc.start()
    try:
        with _Counting() as counting, torch.no_grad():
            work()
        return max(int(counting.peak), tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def _ours(tensor: Tensor) -> bool:
    """Whether the storage is torch's, not an array's; packed matrices of oneDNN have none that can be asked for."""
    return tensor.layout is torch.strided and tensor.untyped_storage().resizable()


@dataclass
class PeakListener(SilentReporter):
    """Peak of the live tensors and arrays, measured after every few images or steps. Needs tracemalloc."""

    every: int = 20
    seen: int = 0
    bytes: int = 0

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.seen = 0

    def advance(self, count: int = 1) -> None:
        before, self.seen = self.seen, self.seen + count
        if self.seen // self.every > before // self.every:
            self._count()

    def _count(self) -> None:
        tensors = sum(one.nbytes for one in gc.get_objects() if type(one) in (Tensor, torch.nn.Parameter))
        self.bytes = max(self.bytes, tensors + tracemalloc.get_traced_memory()[0])


def peak_of_reports(work: Callable[[PeakListener], object]) -> int:
    """Peak size in bytes at the reports of `work`."""
    gc.collect()
    tracemalloc.start()
    try:
        listener = PeakListener()
        work(listener)
        return listener.bytes
    finally:
        tracemalloc.stop()
