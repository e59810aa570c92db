"""Reading of torch.distributed.checkpoint folders, `.metadata` and `__RANK_N.distcp`, without running anything.

torch's own reader unpickles the metadata. `InertUnpickler` is used instead: the plan is data, and every chunk of a
tensor is a separate torch file inside a shard, read with `weights_only`.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.checkpoints.inert_pickle import InertObject, InertUnpickler
from backbones.io.errors import WeightsError

METADATA = ".metadata"
_PREFIX = "torch.distributed.checkpoint."


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
