"""What a device would be asked to do, counted on the CPU: bytes held, operations, and numbers read by the host."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from tasks.solvers.logistic import device_matrix
from tasks.solvers.logistic.replays import Replays

HOST_READS = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.is_nonzero.default")
"""Each waits for the device, as does each copy to the host by `Tensor.cpu`."""
VIEWS = (
    "view",
    "slice",
    "select",
    "expand",
    "permute",
    "transpose",
    "t.",
    "detach",
    "alias",
    "unsqueeze",
    "squeeze",
    "empty",
)
"""Operations that start no kernel; the last allocates."""


class DispatchCounts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations by name, and the storages that they made, as long as these live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.live = self.peak = self.copies = 0
        self._known: set[int] = set()
        self.replaying = False

    @property
    def host_reads(self) -> int:
        """Operations for which the host waits."""
        return self.copies + self._single_numbers

    @property
    def _single_numbers(self) -> int:
        return sum(self.operations[name] for name in HOST_READS)

    @property
    def launches(self) -> int:
        """Operations that start a kernel."""
        views = sum(count for name, count in self.operations.items() if name.removeprefix("aten.").startswith(VIEWS))
        return self.operations.total() - views - self._single_numbers

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if self.replaying:
            return func(*args, **(kwargs or {}))
        self.operations[str(func)] += 1
        made = func(*args, **(kwargs or {}))
        given = {one._cdata for one in storages((args, kwargs))}
        for one in storages(made):
            if one._cdata not in given:
                self._note(one)
        return made

    def holds(self, tensor: Tensor) -> bool:
        """Whether its memory was made here and is alive."""
        return tensor.untyped_storage()._cdata in self._known

    def _note(self, storage: torch.UntypedStorage) -> None:
        name = storage._cdata
        if name not in self._known:
            self._known.add(name)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._gone, name, storage.nbytes())

    def _gone(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.live -= size


def storages(values: object) -> Iterator[torch.UntypedStorage]:
    """Those of all tensors, wherever they are in `values`."""
    for one in tree_iter(values):
        if isinstance(one, Tensor) and one.layout == torch.strided:
            yield one.untyped_storage()


class StandInGraphs:
    """A stand-in for the capture of CUDA graphs: one operation each, and memory for their intermediate results."""

    def __init__(self, counts: DispatchCounts) -> None:
        self.counts = counts
        self.pool = torch.empty(0, dtype=torch.uint8)

    def __call__(self, operations: Callable[[], None]) -> Callable[[], None]:
        counts = self.counts
        before, peak, counts.peak = counts.live, counts.peak, counts.live
        operations()
        needed, counts.peak = counts.peak - before, max(peak, counts.peak)
        if needed > len(self.pool):
            self.pool = torch.empty(0)
            self.pool = torch.empty(needed, dtype=torch.uint8)

        def replay() -> None:
            counts.operations["graph"] += 1
            counts.replaying = True
            try:
                operations()
            finally:
                counts.replaying = False

        return replay


@contextmanager
def counted() -> Iterator[DispatchCounts]:
    """Everything that is asked of torch inside. Copies from the CPU start no operation, so calls are counted."""

    def cpu(tensor: Tensor, *arguments: Any, **more: Any) -> Tensor:
        counts.copies += 1
        return torch._C.TensorBase.cpu(tensor, *arguments, **more)

    with DispatchCounts() as counts, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "cpu", cpu)
        yield counts


@contextmanager
def emulated_card() -> Iterator[DispatchCounts]:
    """A GPU's path on the CPU: tensors of the host are copied to the device, and graphs are replayed."""
    to = Tensor.to

    def copied(tensor: Tensor, *arguments: Any, **more: Any) -> Tensor:
        moved = to(tensor, *arguments, **more)
        device = bool(arguments) and isinstance(arguments[0], torch.device | str)
        return moved.clone() if device and moved is tensor and not counts.holds(tensor) else moved

    def replays(_: torch.device, elements: int) -> Replays:
        return Replays(StandInGraphs(counts) if elements <= device_matrix.MOST_REPLAYED else None)

    with counted() as counts, pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_matrix, "is_card", lambda device: True)
        patch.setattr(Replays, "on", replays)
        patch.setattr(Tensor, "to", copied)
        yield counts
