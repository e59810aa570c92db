"""Images inside shards, read in place: members of tar files, plain or gzip, and rows of parquet files.

Nothing is unpacked to disk. For a gzip file, the decompressor's state at the start of every segment is stored, so that
any member is read by decompressing the segments that contain it.
"""

from __future__ import annotations

import json
import re
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from tasks.datasets.csv_index import IndexRow
from tasks.datasets.dataset import DataError
from tasks.datasets.file_states import ABSENT, State, state_of
from tasks.datasets.images import ReadImages, changed_meanwhile

INSTALL = "pip install 'ssl-console[parquet]'"
BYTES, PATH = "bytes", "path"
"""Fields of an image cell."""
HANDLES = 64
SHOWN = 80
_READING = Lock()
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".parquet")
"""Includes suffixes of other compressions, since suffixes may be wrong."""
SHARD = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, ENDINGS))}))/", re.IGNORECASE | re.DOTALL)
SEGMENT = 8 << 20
"""Decompressed bytes between two stored states of a gzip file's decompressor, each of about 0.1 MB."""
CHUNK = 1 << 16
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
GZIP = 31
"""zlib's window bits for data with a gzip header."""
CACHE_BYTES = 256 << 20
"""Maximum size of decompressed segments and row groups cached in memory."""

Block = bytes | list[bytes]
"""A segment of a gzip file, or the images of a row group of a parquet file."""


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
    binary, large = _types().is_binary, _types().is_large_binary
    fields = _opened(path).schema_arrow
    return [field.name for field in fields if _is_struct(field.type) or binary(field.type) or large(field.type)]


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


def shard_of(file: str) -> str:
    """Shard of an image, relative to the dataset's folder: `a/train.tar` for `a/train.tar/0001.png`."""
    found = SHARD.match(file)
    if found is None:
        raise ValueError(f"{file} is not in a shard")
    return found[1]


class BlockCache:
    """Cache of the most recently used blocks, limited in bytes but at least one block."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._held = limit, 0
        self._blocks: OrderedDict[tuple[Path, int], Block] = OrderedDict()
        self._lock = Lock()

    def get(self, path: Path, number: int, load: Callable[[], Block]) -> Block:
        """A block of a shard, loaded if not cached."""
        with self._lock:
            found = self._blocks.get((path, number))
            if found is not None:
                self._blocks.move_to_end((path, number))
                return found
        loaded = load()
        with self._lock:
            self._blocks[path, number] = loaded
            self._held += _bytes(loaded)
            while self._held > self._limit and len(self._blocks) > 1:
                self._held -= _bytes(self._blocks.popitem(last=False)[1])
        return loaded


def _bytes(block: Block) -> int:
    return len(block) if isinstance(block, bytes) else sum(map(len, block))


class ImageShard(ABC):
    """A file with many images, safe for concurrent reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = Lock()

    @abstractmethod
    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:
        """Bytes of one image. Raises OSError, EOFError, zlib.error and ValueError for a damaged shard."""


class TarShard(ImageShard):
    """A plain tar file: `offset` is the start of a member's bytes."""

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:  # noqa: ARG002 - the kernel has a cache
        """Bytes of one member; fewer if the file is truncated."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(min(size, self.path.stat().st_size))


@dataclass(frozen=True)
class _Resume:
    """A position in the compressed file and the decompressor's state there."""

    place: int
    inflater: Any


class GzipShard(ImageShard):
    """A gzip-compressed tar file: `offset` is the start of a member's bytes in the decompressed file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._starts: list[_Resume | None] = [_Resume(0, zlib.decompressobj(GZIP))]
        """Start of every segment visited so far; None marks the end of the file."""

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:
        """Bytes of one member; fewer if the file is truncated."""
        first, last = offset // SEGMENT, max(offset, offset + size - 1) // SEGMENT
        with self.lock:
            parts = []
            for number in range(first, last + 1):
                part = self._segment(number, blocks)
                parts.append(part)
                if len(part) < SEGMENT:
                    break
        return b"".join(parts)[offset - first * SEGMENT :][:size]

    def _segment(self, number: int, blocks: BlockCache) -> bytes:
        for before in range(len(self._starts) - 1, number):
            if self._starts[before] is None:
                return b""
            blocks.get(self.path, before, partial(self._inflated, before))
        if self._starts[number] is None:
            return b""
        found = blocks.get(self.path, number, partial(self._inflated, number))
        assert isinstance(found, bytes)
        return found

    def _inflated(self, number: int) -> bytes:
        start = self._starts[number]
        assert start is not None
        content, following = inflate_segment(self.path, start.place, start.inflater.copy())
        if number == len(self._starts) - 1:
            self._starts.append(_Resume(*following) if following else None)
        return content


def inflate_segment(path: Path, place: int, inflater: Any) -> tuple[bytes, tuple[int, Any] | None]:  # noqa: ANN401
    """Up to `SEGMENT` decompressed bytes from a position in a gzip file, and the position and state after them.

    These are None at the end. Raises EOFError for a truncated file, zlib.error for a damaged one.
    """
    parts: list[bytes] = []
    wanted = SEGMENT
    with path.open("rb") as file:
        while wanted:
            file.seek(place)
            chunk = file.read(CHUNK)
            if inflater.eof:  # further members may follow, and zero padding
                rest = chunk.lstrip(b"\0")
                if not chunk:
                    return b"".join(parts), None
                place += len(chunk) - len(rest)
                inflater = zlib.decompressobj(GZIP) if rest else inflater
                continue
            if not chunk:
                raise EOFError("the compressed file is truncated")
            parts.append(inflater.decompress(chunk, wanted))
            wanted -= len(parts[-1])
            place += len(chunk) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
    return b"".join(parts), (place, inflater)


class ParquetShard(ImageShard):
    """A parquet file: `offset` is the row index."""

    def __init__(self, path: Path, column: str) -> None:
        super().__init__(path)
        self.column = column

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:  # noqa: ARG002 - a cell has its own size
        """Bytes of the image in one row; empty if the cell is empty."""
        with self.lock:
            number, start = row_groups(self.path).at(offset)
            found = blocks.get(self.path, number, partial(read_images, self.path, number, self.column))
        image = found[offset - start]
        assert isinstance(image, bytes)
        if not image:
            raise ValueError(f"its row {offset} contains no image")
        return image


def open_shard(path: Path, column: str = "") -> ImageShard:
    """Open the shard at a path; `column` contains the images of a parquet file. Raises OSError.

    Compression of a tar file is detected from its first bytes, as suffixes are often wrong.
    """
    if path.suffix.lower() == ".parquet":
        return ParquetShard(path, column)
    return GzipShard(path) if compression_of(path) == "gzip" else TarShard(path)


def compression_of(path: Path) -> str:
    """Compression of a file, e.g. `gzip`; empty if none. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), "")


@dataclass(frozen=True)
class ShardImages(ReadImages):
    """Images inside shards; `files` are `shard.tar/member`."""

    rows: tuple[IndexRow, ...] = field(kw_only=True)
    column: str = field(default="", kw_only=True)
    """Column of a parquet file with the images."""
    states: dict[str, State] = field(default_factory=dict, kw_only=True)
    """States of the shards when their digests were computed; empty if no digest is needed."""
    _blocks: BlockCache = field(default_factory=BlockCache, init=False, compare=False, repr=False)
    _shards: dict[str, ImageShard] = field(default_factory=dict, init=False, compare=False, repr=False)

    def path(self, index: int) -> Path:
        """Shard that contains the image."""
        return self.root / shard_of(self.files[index])

    def content(self, index: int) -> bytes:
        """Bytes of the image. Raises `DataError` with the shard's name, also if it changed after it was opened."""
        row = self.rows[index]
        name = shard_of(row.file)
        path = self.root / name
        if name in self.states and state_of(str(path)) not in (ABSENT, self.states[name]):
            raise changed_meanwhile(path)
        try:
            shard = self._shards.get(name) or self._shards.setdefault(name, open_shard(path, self.column))
            return shard.read(row.offset or 0, row.size or 0, self._blocks)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{path} cannot be read ({reason}): put the original file there") from error
