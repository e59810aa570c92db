"""Reading of torch's two file formats with `InertUnpickler`: the zip archive, and the older sequence of pickles.

For files that torch's own `weights_only` reader refuses because of other objects. Storages of an archive are
memory-mapped, so that inspecting shapes reads no data.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from backbones.checkpoints.haiku_pickle import ArrayStandIn, RefusedPickle
from backbones.checkpoints.inert_pickle import InertUnpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_PICKLE_BYTES = 512 * 1024**2
"""Maximum size in bytes of the part of an archive that describes the tensors."""
MOST_VALUES = 2_000_000
LOCAL_HEADER = 30
"""Size in bytes of a zip member's local header before its name."""


def read_archive(path: Path) -> tuple[object, dict[str, int]]:
    """Content of torch's zip archive, and the names replaced by stubs. Raises RefusedPickle, ValueError."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        description = next((name for name in members if name.endswith("/data.pkl")), None)
        if description is None:
            raise ValueError("the archive has no data.pkl")
        root = description.removesuffix("data.pkl")
        _check_order(archive, members.get(f"{root}byteorder"))
        if members[description].file_size > MOST_PICKLE_BYTES:
            raise RefusedPickle(f"a description of {members[description].file_size:,} bytes")
        mapped = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
        read: dict[str, torch.UntypedStorage] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> torch.UntypedStorage:
            if key not in read:
                member = members.get(f"{root}data/{key}")
                wanted = count * dtype.itemsize
                if member is None or member.compress_type != zipfile.ZIP_STORED or member.file_size < wanted:
                    raise RefusedPickle(f"a storage {key!r} that the archive does not contain completely")
                start = _start(path, member)
                read[key] = cast("torch.UntypedStorage", mapped[start : start + member.file_size])
            return read[key]

        with archive.open(description) as file:
            unpickler = InertUnpickler(file, members[description].file_size, storage)
            content = unpickler.load()
    return _plain(content), unpickler.names


def read_legacy(path: Path) -> tuple[object, dict[str, int]]:
    """Content of torch's older format: magic number, version, system, content, keys, then the storages' bytes."""
    size = path.stat().st_size
    made: dict[str, torch.UntypedStorage] = {}
    left = size

    def storage(key: str, dtype: torch.dtype, count: int) -> torch.UntypedStorage:
        nonlocal left
        if key not in made:
            left -= count * dtype.itemsize
            if left < 0:
                raise RefusedPickle("more numbers than the file has bytes")
            made[key] = torch.empty(count, dtype=dtype).untyped_storage()
        return made[key]

    with path.open("rb") as file:
        if InertUnpickler(file, size).load() != LEGACY_MAGIC:
            raise ValueError("it does not begin like a torch file")
        for _ in range(2):
            InertUnpickler(file, size).load()
        unpickler = InertUnpickler(file, size, storage)
        content = unpickler.load()
        keys = InertUnpickler(file, size).load()
        for key in cast("list[str]", keys):
            _fill(file, made.get(key))
    return _plain(content), unpickler.names


def read_plain(path: Path) -> tuple[object, dict[str, int]]:
    """Content of a pickle that is not a torch file, arrays as tensors: detectron2's, and dictionaries of arrays."""
    with path.open("rb") as file:
        unpickler = InertUnpickler(file, path.stat().st_size)
        return _plain(unpickler.load()), unpickler.names


def is_legacy(path: Path) -> bool:
    """Whether the first pickle of the file is torch's magic number."""
    with path.open("rb") as file:
        return struct.pack("<Q", LEGACY_MAGIC & (2**64 - 1)) in file.read(32)


def tensor_of(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    """A tensor with its own memory, in this machine's byte order."""
    native = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(native)


def with_tensors(value: object) -> object:
    """Convert arrays of numbers to tensors in all nested dictionaries, which must be finite."""
    if isinstance(value, np.ndarray):
        return tensor_of(value) if value.dtype.kind in "fiub" else value
    if isinstance(value, Mapping):
        return {key: with_tensors(item) for key, item in value.items()}
    return value


def _check_order(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> None:
    if member is not None and archive.read(member)[:6] == b"big":
        raise ValueError("its numbers are in big-endian order: save it again on another machine")


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Position of a stored member's bytes."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:LOCAL_HEADER])
    return cast("int", member.header_offset + LOCAL_HEADER + name + extra)


def _fill(file: BinaryIO, storage: torch.UntypedStorage | None) -> None:
    count = int.from_bytes(file.read(8), "little")
    if storage is None:
        raise RefusedPickle("a storage that no tensor uses")
    size = storage.nbytes()
    content = file.read(size)
    if len(content) < size or (count and size % count):
        raise EOFError("a storage is truncated")
    if size:
        storage.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage())


def _plain(content: object) -> object:
    """Convert arrays to tensors in all dictionaries and lists; an excessive number of values is refused."""
    left = iter(range(MOST_VALUES))
    return _plain_value(content, left, 0)


def _plain_value(value: object, left: Iterator[int], depth: int) -> object:
    if next(left, None) is None:
        raise RefusedPickle(f"more than {MOST_VALUES:,} values")
    if isinstance(value, ArrayStandIn):
        return with_tensors(value.value)
    if depth > 100:
        raise RefusedPickle("values nested more than 100 deep")
    if isinstance(value, dict):
        return {key: _plain_value(item, left, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain_value(item, left, depth + 1) for item in value)
    return value
