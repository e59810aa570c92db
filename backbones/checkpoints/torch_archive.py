"""Reading of torch's formats with `InertUnpickler`: the zip archive, the older sequence of pickles, and the folders of
torch.distributed.checkpoint (`.metadata` and `__RANK_N.distcp`).

Used for files that torch's own `weights_only` reader refuses because of other objects. Storages of an archive are
memory-mapped, so that inspecting shapes reads no data.

torch's own reader unpickles the metadata. `InertUnpickler` is used instead: the plan is data, and every chunk of a
tensor is a separate torch file inside a shard, read with `weights_only`.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from backbones.checkpoints.haiku_pickle import ArrayStandIn, RefusedPickle
from backbones.checkpoints.inert_pickle import InertObject, InertUnpickler
from backbones.io.errors import WeightsError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_PICKLE_BYTES = 512 * 1024**2
"""Maximum size in bytes of the part of an archive that describes the tensors."""
MOST_VALUES = 2_000_000
LOCAL_HEADER = 30
"""Size in bytes of a zip member's local header before its name."""
METADATA = ".metadata"
_PREFIX = "torch.distributed.checkpoint."


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


@dataclass(frozen=True)
class _Chunk:
    """A part of a tensor: its position in the tensor and in the file."""

    name: str
    offsets: tuple[int, ...]
    file: str
    start: int
    length: int


def read_distributed(folder: Path) -> dict[str, object]:
    """Read every tensor of the folder by its full name; other values are ignored. Raises WeightsError,
    RefusedPickle.
    """
    path = folder / METADATA
    with path.open("rb") as file:
        metadata = InertUnpickler(file, path.stat().st_size).load()
    attributes = _attributes(metadata, "metadata.Metadata", path)
    wanted = dict(_sizes(attributes.get("state_dict_metadata")))
    tensors: dict[str, object] = {}
    filled: Counter[str] = Counter()
    for chunk in _chunks(attributes.get("storage_data"), path):
        if chunk.name in wanted:
            part = _read(folder, chunk)
            _place(tensors, chunk, part, wanted[chunk.name])
            filled[chunk.name] += part.numel()
    missing = {name for name, size in wanted.items() if name not in tensors or filled[name] != math.prod(size)}
    if missing:
        raise WeightsError(f"{folder} lacks {len(missing)} tensors that its metadata lists: {min(missing)}, ...")
    return tensors


def _attributes(value: object, kind: str, path: Path) -> Mapping[Any, Any]:
    if not isinstance(value, InertObject) or not value.name.startswith(_PREFIX) or not value.name.endswith(kind):
        raise WeightsError(f"{path} is not the metadata of torch.distributed.checkpoint")
    return value.attributes


def _sizes(plan: object) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Shapes of the whole tensors."""
    for name, entry in plan.items() if isinstance(plan, dict) else ():
        size = entry.attributes.get("size") if isinstance(entry, InertObject) else None
        if isinstance(size, tuple):
            yield str(name), size


def _chunks(storage: object, path: Path) -> Iterator[_Chunk]:
    for index, info in storage.items() if isinstance(storage, dict) else ():
        where = _attributes(index, "metadata.MetadataIndex", path)
        place = _attributes(info, "_StorageInfo", path)
        offset = where.get("offset")
        yield _Chunk(
            str(where.get("fqn")),
            tuple(offset) if isinstance(offset, tuple) else (),
            str(place.get("relative_path")),
            int(place.get("offset", 0)),
            int(place.get("length", 0)),
        )


def _read(folder: Path, chunk: _Chunk) -> Tensor:
    if Path(chunk.file).name != chunk.file:
        raise WeightsError(f"{folder / METADATA} names {chunk.file}, which is not in its folder: refused")
    with (folder / chunk.file).open("rb") as file:
        file.seek(chunk.start)
        content = file.read(chunk.length)
    tensor = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(tensor, Tensor):
        raise WeightsError(f"{folder / chunk.file} holds a {type(tensor).__name__} for {chunk.name}, not a tensor")
    return tensor


def _place(tensors: dict[str, object], chunk: _Chunk, part: Tensor, size: tuple[int, ...]) -> None:
    """Copy the part to its position; a tensor of a single part is that part."""
    if tuple(part.shape) == size:
        tensors[chunk.name] = part
        return
    whole = tensors.setdefault(chunk.name, part.new_zeros(size))
    assert isinstance(whole, Tensor)
    place = tuple(slice(start, start + length) for start, length in zip(chunk.offsets, part.shape, strict=True))
    whole[place] = part
