"""Shards of an extraction, and the array into which they are joined.

A shard's name contains its rows and the digest of their bytes, so one rename both completes and records it.
"""

from __future__ import annotations

import hashlib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from backbones.catalog.layer_info import Storage
from backbones.io.files import write_atomically, write_durably
from tasks.features.manifest import ARRAY, DamagedEntryError, FeatureManifest, Shard, check_size

if TYPE_CHECKING:
    from torch import Tensor


AnyFloats = npt.NDArray[np.floating]
Bounds = tuple[int, int]
"""First row of a shard, and the row after its last one."""

NAME = re.compile(r"rows-(\d+)-(\d+)-([0-9a-f]{64})\.npy")
DTYPES: dict[Storage, np.dtype[np.floating]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_NO_ARRAY = (ValueError, EOFError, SyntaxError, tokenize.TokenError, TypeError, MemoryError)
"""Exceptions that numpy raises for a damaged header, which it parses as a Python literal."""


def write_shard(folder: Path, start: int, rows: AnyFloats, storage: Storage = "float32") -> Shard:
    """Write `rows` [m, d], starting at row `start`, to disk."""
    values = np.ascontiguousarray(rows, dtype=DTYPES[storage])
    shard = Shard(start=start, stop=start + len(values), sha256=_digest(values))
    content = b"".join((_header(values.shape, storage), values.data.cast("B")))
    write_atomically(folder / shard_name(shard), content)  # two processes may write the same shard
    return shard


def finished_shards(
    folder: Path, dimension: int, boundaries: Sequence[Bounds], storage: Storage = "float32"
) -> list[Shard]:
    """Valid shards in `folder` with the given boundaries; others are removed."""
    found = {}
    for path in sorted(folder.glob("rows-*.npy")):
        shard = intact_shard(path, dimension, storage)
        if shard is not None and (shard.start, shard.stop) in boundaries:
            found[shard.start] = shard
        else:
            path.unlink(missing_ok=True)
    return [found[start] for start in sorted(found)]


def boundaries(rows: int, shard_rows: int) -> list[Bounds]:
    """Start and stop of every shard of an array with `rows` rows."""
    return [(start, min(start + shard_rows, rows)) for start in range(0, rows, shard_rows)]


def rows_in_shards(folder: Path) -> int:
    """Number of finished rows, from the file names alone (progress for waiting processes)."""
    matches = (NAME.fullmatch(path.name) for path in folder.glob("rows-*.npy"))
    return sum(int(match[2]) - int(match[1]) for match in matches if match)


def join(folder: Path, shards: Sequence[Shard], target: Path, dimension: int, storage: Storage = "float32") -> int:
    """Join all shards into one array at `target`; return its size in bytes. Raises DamagedEntryError for an invalid
    shard."""
    shape = (sum(shard.stop - shard.start for shard in shards), dimension)
    write_durably(target, _joined(folder, shards, shape, storage))
    return target.stat().st_size


def open_array(folder: Path, manifest: FeatureManifest) -> AnyFloats:
    """Features [n, d] of a complete entry, memory-mapped. Raises DamagedEntryError for a wrong size or header."""
    check_size(folder, manifest)
    path = folder / ARRAY
    try:
        values: AnyFloats = np.load(path, mmap_mode="r")
    except _NO_ARRAY as error:
        raise DamagedEntryError(f"{path} has no readable header: {error}") from error
    if values.shape != (manifest.rows, manifest.dimension) or values.dtype != DTYPES[manifest.storage]:
        raise DamagedEntryError(
            f"{path} holds {values.dtype} {values.shape}, not {manifest.storage} {manifest.rows} rows"
        )
    return values


def verify(folder: Path, manifest: FeatureManifest) -> list[Shard]:
    """Read the whole array and return the shards whose bytes have changed; empty if intact."""
    values = open_array(folder, manifest)
    return [s for s in manifest.shards if _digest(values[s.start : s.stop]) != s.sha256]


def _joined(
    folder: Path, shards: Sequence[Shard], shape: tuple[int, int], storage: Storage
) -> Iterator[bytes | memoryview]:
    yield _header(shape, storage)
    for shard in shards:
        path = folder / shard_name(shard)
        rows = _load(path, storage)
        if rows is None or _digest(rows) != shard.sha256:
            path.unlink(missing_ok=True)
            raise DamagedEntryError(f"{path} changed on disk after it was written: retry to compute it again")
        yield rows.data.cast("B")


def shard_names(folder: Path) -> set[str]:
    """Names of the shard files in a folder. Raises FileNotFoundError without the folder."""
    return {path.name for path in folder.iterdir() if NAME.fullmatch(path.name)}


def intact_shard(path: Path, dimension: int, storage: Storage) -> Shard | None:
    """The shard that a file contains; None if its name, size or digest do not fit."""
    match = NAME.fullmatch(path.name)
    rows = _load(path, storage) if match else None
    if match is None or rows is None or rows.shape != (int(match[2]) - int(match[1]), dimension):
        return None
    shard = Shard(start=int(match[1]), stop=int(match[2]), sha256=match[3])
    return shard if _digest(rows) == shard.sha256 else None


def _load(path: Path, storage: Storage) -> AnyFloats | None:
    try:
        values: AnyFloats = np.load(path)
    except (OSError, *_NO_ARRAY):
        return None
    return values if values.dtype == DTYPES[storage] and values.ndim == 2 else None


def _digest(rows: AnyFloats) -> str:
    return hashlib.sha256(rows.data).hexdigest()


def shard_name(shard: Shard) -> str:
    """File name of a shard."""
    return f"rows-{shard.start:09d}-{shard.stop:09d}-{shard.sha256}.npy"


def _header(shape: tuple[int, ...], storage: Storage) -> bytes:
    header = io.BytesIO()
    described = np.lib.format.dtype_to_descr(DTYPES[storage])
    np.lib.format.write_array_header_1_0(header, {"descr": described, "fortran_order": False, "shape": shape})
    return header.getvalue()


Indices = npt.NDArray[np.int64]


class FeatureRows(Protocol):
    """Feature vectors [n, d], float16 or float32: an array, mapped or not, a tensor, `StoredRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> AnyFloats | Tensor:
        """Selected rows, as an array or a tensor."""


@dataclass(frozen=True)
class StoredRows:
    """Selected rows of one or several arrays [*, d], concatenated; read on access."""

    parts: tuple[tuple[AnyFloats, Indices], ...]
    """Arrays, each with its selected rows in ascending order."""

    def __len__(self) -> int:
        return sum(len(indices) for _, indices in self.parts)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), self.parts[0][0].shape[1]

    def __getitem__(self, rows: slice, /) -> AnyFloats:
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

    def take(self, rows: Indices) -> AnyFloats:
        """Rows [m, d] at any positions, in the given order."""
        starts = np.cumsum([0, *(len(indices) for _, indices in self.parts)])
        part_of = np.searchsorted(starts, rows, side="right") - 1
        taken = np.empty((len(rows), self.shape[1]), self.parts[0][0].dtype)
        for number, (values, indices) in enumerate(self.parts):
            here = part_of == number
            taken[here] = values[indices[rows[here] - starts[number]]]
        return taken


@dataclass(frozen=True)
class ColumnRows:
    """Column-wise concatenation of several `StoredRows` of equal length."""

    columns: tuple[StoredRows, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), sum(column.shape[1] for column in self.columns)

    def __getitem__(self, rows: slice, /) -> AnyFloats:
        return np.concatenate([column[rows] for column in self.columns], axis=1)

    def take(self, rows: Indices) -> AnyFloats:
        """Rows [m, d] at any positions, in the given order."""
        return np.concatenate([column.take(rows) for column in self.columns], axis=1)


def _taken(values: AnyFloats, chosen: Indices) -> AnyFloats:
    """A view, which reads nothing yet, where the rows are contiguous."""
    first, last = int(chosen[0]), int(chosen[-1])
    return values[first : last + 1] if last - first == len(chosen) - 1 else values[chosen]
