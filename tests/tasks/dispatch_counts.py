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

HOST_READS = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.is_nonzero.default")
"""Each waits for the device, as does each copy to the host by `Tensor.cpu`."""
VIEWS = ("view", "slice", "select", "expand", "permute", "transpose", "t.", "detach", "alias", "unsqueeze", "squeeze")
"""Operations that start no kernel."""


class DispatchCounts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations by name, and the storages that they made, as long as these live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.live = self.peak = self.copies = 0
        self._known: set[int] = set()

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
        self.operations[str(func)] += 1
        made = func(*args, **(kwargs or {}))
        for one in tree_iter(made):
            if isinstance(one, Tensor) and one.layout == torch.strided:
                self._note(one.untyped_storage())
        return made

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


@contextmanager
def counted() -> Iterator[DispatchCounts]:
    """Everything that is asked of torch inside. Copies from the CPU start no operation, so calls are counted."""

    def cpu(tensor: Tensor, *arguments: Any, **more: Any) -> Tensor:
        counts.copies += 1
        return torch._C.TensorBase.cpu(tensor, *arguments, **more)

    with DispatchCounts() as counts, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "cpu", cpu)
        yield counts
