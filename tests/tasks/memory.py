"""Memory counted instead of measured: the bytes of all tensors and arrays alive at the same time."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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
    """Whether the storage is torch's, not an array's."""
    return tensor.untyped_storage().resizable()
