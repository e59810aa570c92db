"""Layer-wise features by role, from which protocols select blocks and poolings. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backbones.catalog.layer_info import LayerColumn, LayerPooling
from tasks.datasets.splits import ManyShotSplit, Selection
from tasks.features.shards import ColumnRows, StoredRows

AnyFloats = npt.NDArray[np.floating]
Place = tuple[int, LayerPooling]
"""Block number, from 1, and pooling of its tokens or feature map."""


@dataclass(frozen=True)
class RoleLayers:
    """Layer-wise features of the images in one role, read from disk on access."""

    parts: tuple[tuple[AnyFloats, npt.NDArray[np.int64]], ...]
    """Arrays [*, d], each with its selected rows."""
    columns: tuple[LayerColumn, ...]

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def select(self, places: Sequence[Place]) -> ColumnRows:
        """Features [n, sum of widths] of the given blocks and poolings, concatenated in the given order."""
        return ColumnRows(tuple(self._column(place) for place in places))

    def _column(self, place: Place) -> StoredRows:
        ends = np.cumsum([column.width for column in self.columns])
        number = [(column.block, column.pooling) for column in self.columns].index(place)
        chosen = slice(int(ends[number]) - self.columns[number].width, int(ends[number]))
        return StoredRows(tuple((values[:, chosen], rows) for values, rows in self.parts))


@dataclass(frozen=True)
class LayerInputs:
    """Layer-wise features of a train, validation and test role."""

    train: RoleLayers
    val: RoleLayers
    test: RoleLayers

    @classmethod
    def of(cls, split: ManyShotSplit, arrays: Mapping[str, AnyFloats], columns: tuple[LayerColumn, ...]) -> LayerInputs:
        """Layer-wise features by role, from one array per source split."""

        def role(selection: Selection) -> RoleLayers:
            return RoleLayers(tuple((arrays[name], rows) for name, rows in selection), columns)

        return cls(role(split.train), role(split.val), role(split.test))

    @property
    def columns(self) -> tuple[LayerColumn, ...]:
        """Columns of every array."""
        return self.train.columns

    @property
    def blocks(self) -> tuple[int, ...]:
        """Stored block numbers, from 1, in ascending order."""
        return tuple(sorted({column.block for column in self.columns}))

    def last(self, count: int) -> tuple[int, ...] | None:
        """The last `count` blocks; None if the backbone has fewer or not all of them are stored."""
        depth = self.blocks[-1]
        wanted = tuple(range(depth - count + 1, depth + 1))
        return wanted if set(wanted) <= set(self.blocks) else None

    def has(self, pooling: LayerPooling) -> bool:
        """Whether this pooling of the blocks is stored."""
        return any(column.pooling == pooling for column in self.columns)
