"""Images inside shards, read where they are stored: members of tar files, plain or gzip, and rows of parquet files.

Nothing is unpacked onto the disk. Of a gzip file, the decompressor's state at the beginning of every segment is kept,
so that any member is read by decompressing the segments that hold it.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from tasks.datasets.csv_index import IndexRow
from tasks.datasets.dataset import DataError
from tasks.datasets.file_states import ABSENT, State, state_of
from tasks.datasets.images import ReadImages, changed_meanwhile
from tasks.datasets.parquet_files import read_images, row_groups

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".parquet")
"""Also of files that are compressed in other ways than their names say."""
SHARD = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, ENDINGS))}))/", re.IGNORECASE | re.DOTALL)
SEGMENT = 8 << 20
"""Decompressed bytes of a gzip file between two states of its decompressor, each of which takes about 0.1 MB."""
CHUNK = 1 << 16
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
GZIP = 31
"""zlib's window bits for data with a gzip header."""
CACHE_BYTES = 256 << 20
"""Decompressed segments and row groups that are kept in memory for the images that come next."""

Block = bytes | list[bytes]
"""A segment of a gzip file, or the images of a row group of a parquet file."""


def shard_of(file: str) -> str:
    """The shard of an image, relative to the dataset's folder: `a/train.tar` of `a/train.tar/0001.png`."""
    found = SHARD.match(file)
    if found is None:
        raise ValueError(f"{file} is in no shard")
    return found[1]


class BlockCache:
    """The blocks used last, up to a number of bytes, and at least one."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._held = limit, 0
        self._blocks: OrderedDict[tuple[Path, int], Block] = OrderedDict()
        self._lock = Lock()

    def get(self, path: Path, number: int, load: Callable[[], Block]) -> Block:
        """The block of a shard, loaded where it is not held."""
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
    """One file that holds many images, read by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = Lock()

    @abstractmethod
    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:
        """The bytes of one image. Raises OSError, EOFError, zlib.error and ValueError for a damaged shard."""


class TarShard(ImageShard):
    """A plain tar file: `offset` is where a member's bytes begin in it."""

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:  # noqa: ARG002 - the kernel has a cache
        """The bytes of one member; fewer where the file ends before."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(min(size, self.path.stat().st_size))


@dataclass(frozen=True)
class _Resume:
    """The place in the compressed file where decompression goes on, and the decompressor's state there."""

    place: int
    inflater: Any


class GzipShard(ImageShard):
    """A tar file compressed by gzip: `offset` is where a member's bytes begin in the decompressed file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._starts: list[_Resume | None] = [_Resume(0, zlib.decompressobj(GZIP))]
        """The beginning of every segment that is known so far; None is the end of the file."""

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:
        """The bytes of one member; fewer where the file ends before."""
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
    """Up to `SEGMENT` decompressed bytes from a place in a gzip file, and the place and state after them.

    None instead of these at the end. Raises EOFError for a file that is cut off, zlib.error for a damaged one.
    """
    parts: list[bytes] = []
    wanted = SEGMENT
    with path.open("rb") as file:
        while wanted:
            file.seek(place)
            chunk = file.read(CHUNK)
            if inflater.eof:  # further members may follow, and zeros for padding
                rest = chunk.lstrip(b"\0")
                if not chunk:
                    return b"".join(parts), None
                place += len(chunk) - len(rest)
                inflater = zlib.decompressobj(GZIP) if rest else inflater
                continue
            if not chunk:
                raise EOFError("the compressed file ends before its end was due")
            parts.append(inflater.decompress(chunk, wanted))
            wanted -= len(parts[-1])
            place += len(chunk) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
    return b"".join(parts), (place, inflater)


class ParquetShard(ImageShard):
    """A parquet file: `offset` is the number of a row."""

    def __init__(self, path: Path, column: str) -> None:
        super().__init__(path)
        self.column = column

    def read(self, offset: int, size: int, blocks: BlockCache) -> bytes:  # noqa: ARG002 - a cell has its own size
        """The bytes of the image in one row; none where the cell is empty."""
        with self.lock:
            number, start = row_groups(self.path).at(offset)
            found = blocks.get(self.path, number, partial(read_images, self.path, number, self.column))
        image = found[offset - start]
        assert isinstance(image, bytes)
        if not image:
            raise ValueError(f"its row {offset} holds no bytes of an image")
        return image


def open_shard(path: Path, column: str = "") -> ImageShard:
    """The shard at a path; `column` holds the images of a parquet file. Raises OSError.

    Whether a tar file is compressed is told from its first bytes: names of files are often wrong about it.
    """
    if path.suffix.lower() == ".parquet":
        return ParquetShard(path, column)
    return GzipShard(path) if compression_of(path) == "gzip" else TarShard(path)


def compression_of(path: Path) -> str:
    """How a file is compressed, `gzip` say; empty for one that is not. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), "")


@dataclass(frozen=True)
class ShardImages(ReadImages):
    """Images inside shards. `files` are `shard.tar/member`."""

    rows: tuple[IndexRow, ...] = field(kw_only=True)
    column: str = field(default="", kw_only=True)
    """The column of a parquet file that holds the images."""
    states: dict[str, State] = field(default_factory=dict, kw_only=True)
    """What the shards were like when their digests were taken; empty where nothing asks for these."""
    _blocks: BlockCache = field(default_factory=BlockCache, init=False, compare=False, repr=False)
    _shards: dict[str, ImageShard] = field(default_factory=dict, init=False, compare=False, repr=False)

    def path(self, index: int) -> Path:
        """The shard that holds the image."""
        return self.root / shard_of(self.files[index])

    def content(self, index: int) -> bytes:
        """The bytes of the image. Raises `DataError` naming the shard, also where it changed since it was opened."""
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
