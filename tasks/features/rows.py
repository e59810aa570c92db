"""Feature vectors that are read piece by piece: what a bank of more rows than fit into memory is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]


class Rows(Protocol):
    """Feature vectors [n, d], float16 or float32: an array, mapped or not, a tensor, `StoredRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Floats | Tensor:
        """Those rows, as an array or a tensor."""


@dataclass(frozen=True)
class StoredRows:
    """Chosen rows of one or several arrays [*, d], one array after another; nothing is read before it is asked for."""

    parts: tuple[tuple[Floats, Indices], ...]
    """Arrays with the rows that are taken from them, in rising order."""

    def __len__(self) -> int:
        return sum(len(indices) for _, indices in self.parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), self.parts[0][0].shape[1]

    def __getitem__(self, rows: slice, /) -> Floats:
        start, stop, _ = rows.indices(len(self))
        taken, first = [], 0
        for values, indices in self.parts:
            chosen = indices[max(0, start - first) : max(0, stop - first)]
            if len(chosen):
                taken.append(_taken(values, chosen))
            first += len(indices)
        if not taken:
            return self.parts[0][0][:0]
        return taken[0] if len(taken) == 1 else np.concatenate(taken)


def _taken(values: Floats, chosen: Indices) -> Floats:
    """A view where rows follow one another, which reads nothing yet."""
    first, last = int(chosen[0]), int(chosen[-1])
    return values[first : last + 1] if last - first == len(chosen) - 1 else values[chosen]
