"""Reading of TensorFlow V2 checkpoints (`x.index` and `x.data-00000-of-00001`) without TensorFlow.

The index is a sorted string table: blocks of prefix-compressed keys, found through a footer (LevelDB's
`doc/table_format.md`). Its values are protocol buffers, BundleEntryProto of `tensor_bundle.proto`: type, shape, shard,
offset, size. The data files are the tensors' bytes.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backbones.io.errors import WeightsError

Array = np.ndarray[Any, np.dtype[Any]]
MAGIC = 0xDB4775248B80FB57
FOOTER = 48
LARGEST_INDEX = 64 * 1024**2
LARGEST_SHARD = 4 * 1024**3
"""Maximum size in bytes of a shard in a zip file, which states the size of its members before they are unpacked."""
MOST_ENTRIES = 100_000
NUMBER_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
"""TensorFlow's DataType codes of plain little-endian numbers."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _BrokenError(ValueError):
    """The bytes are not a table of this kind."""


@dataclass(frozen=True)
class _Entry:
    """Position of a tensor. `kind` is TensorFlow's code of its type."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


@dataclass(frozen=True)
class _Files:
    """The index and the data shards, independent of their storage."""

    index: bytes
    shard: Callable[[int, int], Array]
    """Function from a shard's index and the number of shards to its bytes."""


def read_bundle(path: Path, wanted: Callable[[str], bool]) -> dict[str, Array]:
    """Read the tensors with the wanted names. `path`: the index, or a folder or zip file with one.

    Raises WeightsError for anything but a complete bundle, and for a wanted tensor that is not of plain numbers.
    """
    try:
        files = _open(path)
        entries = dict(_table(files.index))
        shards = max(1, _header_shards(entries.pop("", b"")))
        chosen = {name: _entry(value) for name, value in entries.items() if wanted(name)}
        data = {number: files.shard(number, shards) for number in sorted({entry.shard for entry in chosen.values()})}
        return {name: _tensor(name, entry, data[entry.shard]) for name, entry in chosen.items()}
    except _BROKEN as error:
        raise WeightsError(f"{path} is not a whole TensorFlow checkpoint: {error}") from error
    except OSError as error:
        raise WeightsError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error


_BROKEN = (
    ArithmeticError,
    LookupError,
    MemoryError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of the readers of the table, numpy and zipfile for bytes that are not a bundle."""


def _open(path: Path) -> _Files:
    if zipfile.is_zipfile(path):
        return _open_archive(path)
    index = path if not path.is_dir() else Path(_only_index([str(found) for found in path.glob("*.index")]))
    stem = index.name.removesuffix(".index")

    def shard(number: int, count: int) -> Array:
        return np.memmap(index.with_name(f"{stem}.data-{number:05d}-of-{count:05d}"), dtype=np.uint8, mode="r")

    if index.stat().st_size > LARGEST_INDEX:
        raise _BrokenError("the index is far too large")
    return _Files(index.read_bytes(), shard)


def _open_archive(path: Path) -> _Files:
    with zipfile.ZipFile(path) as archive:
        index = _only_index([name for name in archive.namelist() if name.endswith(".index")])
        content = _member(archive, index, LARGEST_INDEX)
    stem = index.removesuffix(".index")

    def shard(number: int, count: int) -> Array:
        name = f"{stem}.data-{number:05d}-of-{count:05d}"
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                raise _BrokenError(f"{name} is missing")
            return np.frombuffer(_member(archive, name, LARGEST_SHARD), dtype=np.uint8)

    return _Files(content, shard)


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    if archive.getinfo(name).file_size > largest:
        raise _BrokenError(f"{name} is larger than {largest:,} bytes")
    return archive.read(name)


def _only_index(names: list[str]) -> str:
    if len(names) != 1:
        raise _BrokenError(f"it contains {len(names)} index files, expected one")
    return names[0]


def _table(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every key and value of a sorted string table."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise _BrokenError("the index has no table footer")
    position = 0
    _, position = _handle(data, len(data) - FOOTER)
    top, _ = _handle(data, position)
    left = MOST_ENTRIES
    for _, value in _block(data, top):
        handle, _ = _handle(value, 0)
        for key, entry in _block(data, handle):
            left -= 1
            if left < 0:
                raise _BrokenError(f"the index has more than {MOST_ENTRIES:,} entries")
            yield key.decode(), entry


def _block(data: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; each key shares a prefix with the previous one."""
    start, size = handle
    if start + size + 5 > len(data):
        raise _BrokenError("a block is beyond the end of the index")
    if data[start + size] != 0:
        raise _BrokenError("the index is compressed, which TensorFlow does not do")
    block = data[start : start + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end, position, key = size - 4 - 4 * restarts, 0, b""
    while position < end:
        shared, position = _varint(block, position)
        rest, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + rest]
        position += rest
        yield key, block[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
        if shift > 63:
            raise _BrokenError("a number is too long")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: numbers as integers, the rest as bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        size, position = _size(message, kind, position)
        yield tag >> 3, message[position : position + size]
        position += size


def _size(message: bytes, kind: int, position: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, position)
    if kind in (_FIXED32, _FIXED64):
        return (4 if kind == _FIXED32 else 8), position
    raise _BrokenError(f"an entry has a field of kind {kind}")


def _numbers(message: bytes) -> dict[int, int]:
    return {field: value for field, value in _fields(message) if isinstance(value, int)}


def _header_shards(message: bytes) -> int:
    header = _numbers(message)
    if header.get(2, 0) != 0:
        raise _BrokenError("it was written on a big-endian machine")
    return header.get(1, 1)


def _entry(message: bytes) -> _Entry:
    numbers = _numbers(message)
    shape = next((value for field, value in _fields(message) if field == 2 and isinstance(value, bytes)), b"")
    dimensions = (value for field, value in _fields(shape) if field == 2 and isinstance(value, bytes))
    return _Entry(
        kind=numbers.get(1, 0),
        shape=tuple(_numbers(dimension).get(1, 0) for dimension in dimensions),
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
    )


def _tensor(name: str, entry: _Entry, data: Array) -> Array:
    if entry.kind not in NUMBER_TYPES:
        raise _BrokenError(f"{name} is of TensorFlow's type {entry.kind}, which is not a plain number")
    number_type = np.dtype(NUMBER_TYPES[entry.kind])
    if entry.size != math.prod(entry.shape) * number_type.itemsize:
        raise _BrokenError(f"{name} has {entry.size} bytes, which is not {entry.shape} of {number_type}")
    if entry.offset + entry.size > len(data):
        raise _BrokenError(f"{name} is beyond the end of the data: the file is truncated")
    raw = data[entry.offset : entry.offset + entry.size].tobytes()
    return np.frombuffer(raw, dtype=number_type).reshape(entry.shape)
