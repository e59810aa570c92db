"""Parquet files with images, as published on the Hugging Face hub. Needs pyarrow, which is optional."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from tasks.datasets.dataset import DataError
from tasks.datasets.file_states import State, state_of

INSTALL = "pip install 'ssl-console[parquet]'"
BYTES, PATH = "bytes", "path"
"""Fields of an image cell."""
HANDLES = 64
SHOWN = 80
_READING = Lock()


class NoParquet(DataError, ValueError):  # noqa: N818 - a domain word, raised as such
    """pyarrow is not installed."""


def has_pyarrow() -> bool:
    """Whether parquet files can be read."""
    try:
        _pyarrow()
    except NoParquet:
        return False
    return True


@dataclass(frozen=True)
class RowGroups:
    """Row groups of a parquet file: `starts` is the first row of every group, followed by the number of rows."""

    starts: tuple[int, ...]

    def at(self, row: int) -> tuple[int, int]:
        """The group of a row and the group's first row. Raises ValueError for a row that does not exist."""
        if not 0 <= row < self.starts[-1]:
            raise ValueError(f"it has {self.starts[-1]} rows, not row {row}")
        number = bisect_right(self.starts, row) - 1
        return number, self.starts[number]


def row_groups(path: Path) -> RowGroups:
    """The row groups of a file. Raises NoParquet, OSError and ValueError."""
    metadata = _opened(path).metadata
    counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    return RowGroups(tuple(accumulate(counts, initial=0)))


def read_images(path: Path, group: int, column: str) -> list[bytes]:
    """Images of a row group as file contents; empty for empty cells."""
    with _READING:
        found = _opened(path).read_row_group(group, columns=[column]).column(0)
    chunks = [chunk.field(BYTES) if _is_struct(found.type) else chunk for chunk in found.chunks]
    return [cell or b"" for chunk in chunks for cell in chunk.to_pylist()]


def image_columns(path: Path) -> list[str]:
    """Columns whose cells contain file contents and a file name."""
    return [field.name for field in _opened(path).schema_arrow if _is_struct(field.type) or _is_binary(field.type)]


def has_names(path: Path, column: str) -> bool:
    """Whether the images of a column have file names."""
    kind = _opened(path).schema_arrow.field(column).type
    return _is_struct(kind) and PATH in [kind.field(at).name for at in range(kind.num_fields)]


def columns(path: Path) -> list[str]:
    """Names of all columns."""
    return list(_opened(path).schema_arrow.names)


def class_names_of(path: Path, column: str) -> Sequence[str] | None:
    """Class names of an integer column, as written into the file by `datasets`; None without any."""
    metadata: Mapping[bytes, bytes] = _opened(path).schema_arrow.metadata or {}
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        found = feature.get("names") or feature["feature"]["names"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def cells(path: Path, wanted: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Cells of some columns, row by row, without image contents."""
    file = _opened(path)
    for number in range(file.num_row_groups):
        table = file.read_row_group(number, columns=list(wanted))
        yield from zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)


def _is_struct(kind: Any) -> bool:  # noqa: ANN401 - pyarrow's types
    return bool(_types().is_struct(kind)) and BYTES in [kind.field(at).name for at in range(kind.num_fields)]


def _is_binary(kind: Any) -> bool:  # noqa: ANN401 - pyarrow's types
    return bool(_types().is_binary(kind) or _types().is_large_binary(kind))


def _types() -> Any:  # noqa: ANN401 - a module of pyarrow's
    return _pyarrow().types


def _pyarrow() -> Any:  # noqa: ANN401 - pyarrow itself
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as error:
        raise NoParquet(f"parquet files need pyarrow, which is not installed: {INSTALL}") from error


def _opened(path: Path) -> Any:  # noqa: ANN401 - pyarrow's file
    return _opened_as(path, state_of(str(path)))


@lru_cache(maxsize=HANDLES)
def _opened_as(path: Path, state: State) -> Any:  # noqa: ANN401, ARG001 - the state, as an open file outlives its name
    try:
        return _pyarrow().parquet.ParquetFile(path)
    except NoParquet:
        raise
    except ValueError as error:
        raise ValueError(f"{path} is not a parquet file, or is damaged ({str(error)[:SHOWN]})") from error
