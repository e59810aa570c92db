"""Reading of checkpoint files as data, without running code.

safetensors (also in shards), torch files with `weights_only`, numpy archives, distributed checkpoints. A torch file or
pickle that contains other objects is read again with `InertUnpickler`, which replaces them by stubs.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file

from backbones.catalog.weights_folder import ADAPTERS, adapter_base, checkpoint_files
from backbones.checkpoints.adapters import dequantised, holds_lora, lora_settings, merged, merged_inside
from backbones.checkpoints.haiku_pickle import RefusedPickle
from backbones.checkpoints.inert_pickle import InertObject
from backbones.checkpoints.torch_archive import (
    METADATA,
    is_legacy,
    read_archive,
    read_distributed,
    read_legacy,
    read_plain,
    tensor_of,
    with_tensors,
)
from backbones.io.errors import WeightsError

_REFUSED = re.compile(r"(?:GLOBAL|the name) ([\w.]+)")
MOST_ENTRIES, DEEPEST = 1_000_000, 30
"""Limits on a checkpoint's dictionaries: an optimizer may have thousands of entries. One that contains another
twice, and so on, has exponentially many in a file of a few bytes.
"""
_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class CheckpointContent:
    """Content of a file, nested as it was saved, tensors on the CPU.

    `stubs`: names of other objects that were replaced by inert stubs.
    """

    tensors: dict[str, object]
    stubs: tuple[str, ...] = ()
    merged: str = ""
    """Description of what was merged into the tensors; empty for most files."""


def read_checkpoint(path: Path) -> dict[str, object]:
    """Dictionary in the file. Raises WeightsError for a file that is damaged or not a dictionary."""
    return read_content(path).tensors


def read_content(path: Path) -> CheckpointContent:
    """Dictionary in the file, and its stubs.

    Raises WeightsError for a file that is damaged, is not a dictionary, or contains names that only an attack would
    use.
    """
    try:
        if path.name in ADAPTERS and (base := adapter_base(path)) is not None:
            return _adapted(path, checkpoint_files(base)[0])
        content, stubs = _content(path)
    except RefusedPickle as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except _BROKEN as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a whole torch checkpoint: {first}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if isinstance(content, InertObject):
        raise WeightsError(_refusal(path, f"the name {content.name}"))
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    _check_extent(path, content)
    found = CheckpointContent(cast("dict[str, object]", with_tensors(content)), tuple(stubs))
    return _merged_inside(path, _dequantised(found))


def _dequantised(content: CheckpointContent) -> CheckpointContent:
    """Content with integer weights multiplied by their scales, in the file's own dictionary and nested ones."""
    tensors, found = dequantised(content.tensors)
    for key, value in content.tensors.items():
        if isinstance(value, Mapping):
            inner, name = dequantised(value)
            tensors, found = ({**tensors, key: inner}, name) if name else (tensors, found)
    return CheckpointContent(tensors, content.stubs, f"scales of {found} into its weights") if found else content


def _adapted(path: Path, base: Path) -> CheckpointContent:
    """Network of `base` with the adapter of `path` merged; the adapter alone where that is impossible."""
    adapter, _ = _content(path)
    settings = lora_settings(path.parent)
    if settings is None or base.is_dir() or not isinstance(adapter, Mapping):
        return CheckpointContent(cast("dict[str, object]", adapter))
    network = read_content(base)
    inner = next((name for name, value in network.tensors.items() if isinstance(value, Mapping)), None)
    if inner is not None and not any(isinstance(value, torch.Tensor) for value in network.tensors.values()):
        raise WeightsError(f"{path} belongs to {base}, whose tensors are in {inner!r}: save the bare state dict of it")
    tensors = merged(network.tensors, adapter, settings)
    return CheckpointContent(tensors, network.stubs, f"LoRA adapter of {path.parent.name} into {base}")


def _merged_inside(path: Path, content: CheckpointContent) -> CheckpointContent:
    """Content with adapters merged that are stored in one dictionary with their network, with the configuration
    in the same folder.
    """
    places = [None, *(key for key, value in content.tensors.items() if isinstance(value, Mapping))]
    dictionaries = [(key, content.tensors if key is None else content.tensors[key]) for key in places]
    found = [(key, value) for key, value in dictionaries if isinstance(value, Mapping) and holds_lora(value)]
    settings = lora_settings(path.parent) if found else None
    if settings is None:
        return content
    tensors = content.tensors
    for key, value in found:
        tensors = merged_inside(value, settings) if key is None else {**tensors, key: merged_inside(value, settings)}
    return CheckpointContent(tensors, content.stubs, f"LoRA adapter in {path.name}")


def _content(path: Path) -> tuple[object, Mapping[str, int]]:
    """Content by type of file. Raises the reader's exceptions."""
    if path.name == METADATA:
        return read_distributed(path.parent), {}
    if path.name.endswith(".index.json"):
        return _shards(path), {}
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors: eight bytes of length and a JSON object
    json_follows = len(start) == 9 and start[8:] == b"{" and start[:4] != b"PK\x03\x04"
    if path.suffix == ".safetensors" or json_follows:
        return load_file(path), {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith(".npy") for name in archive.namelist()):
                return _arrays(path), {}
    elif start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not is_legacy(path):
        return read_plain(path)
    return _load(path)


def _shards(index: Path) -> dict[str, object]:
    """All tensors listed by the index, from its shards."""
    weight_map = json.loads(index.read_bytes())["weight_map"]
    tensors: dict[str, object] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name}, which is not in its folder: refused")
        tensors |= read_content(index.parent / name).tensors
    missing = weight_map.keys() - tensors.keys()
    if missing:
        raise WeightsError(f"{index} lists {len(missing)} tensors that no shard holds: {min(missing)}, ...")
    return tensors


def _arrays(path: Path) -> dict[str, object]:
    """Arrays of a numpy archive; arrays of objects are refused by numpy."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: tensor_of(array) for name, array in arrays.items() if array.dtype.kind in "fiub"}


_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""Exceptions of torch's reader for bytes that are not a checkpoint, `RecursionError` among the `RuntimeError`s."""


def _check_extent(path: Path, content: Mapping[object, object]) -> None:
    """Check that the nested dictionaries are finite. Raises WeightsError."""
    left, level = MOST_ENTRIES, [content]
    for _ in range(DEEPEST):
        left -= sum(map(len, level))
        if left < 0:
            raise WeightsError(f"{path} holds more than {MOST_ENTRIES:,} entries, which no checkpoint has: not read")
        level = [value for one in level for value in one.values() if isinstance(value, Mapping)]
        if not level:
            return
    raise WeightsError(f"{path} is nested more than {DEEPEST} levels deep, which no checkpoint is: not read")


def safe_globals() -> Any:  # noqa: ANN401 - the type of torch's context manager is private
    """Context in which torch also accepts the harmless types of published checkpoints.

    Arguments of scripts (PyContrast, DINO, MoCo v3) and numpy's numbers under their old and new names.
    """
    return torch.serialization.safe_globals(_HARMLESS)


def _harmless() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    renamed = [
        (function, f"{module}.{name}")
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, function in (("scalar", multiarray.scalar), ("_reconstruct", multiarray._reconstruct))
    ]
    types = [type(np.dtype(name)) for name in _NUMBERS]
    paths = [(pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")]
    plain = [argparse.Namespace, np.ndarray, np.dtype, collections.defaultdict]
    return [*renamed, *types, *paths, *plain]


_HARMLESS = _harmless()


def _load(path: Path) -> tuple[object, Mapping[str, int]]:
    """Content by torch's own reader of plain data; with stubs where that refuses an object."""
    archive = zipfile.is_zipfile(path)
    try:
        with safe_globals():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive), {}
    except pickle.UnpicklingError as error:
        if not _REFUSED.search(str(error)) and "Unsupported" not in str(error):
            raise
    return (read_archive if archive else read_legacy)(path)


def _refusal(path: Path, message: str) -> str:
    found = _REFUSED.search(message)
    if found is None and "quantised" in message:
        return f"{path} holds {message}: use the weights from before the quantisation (float32 or bfloat16)"
    if found is None:
        return f"{path} is not a whole torch checkpoint ({message[:120]})"
    return (
        f"{path} refers to {found[1]}, which is code and not data: refused, and nothing was run. "
        "Save the bare state dict (torch.save(model.state_dict(), ...)) or safetensors instead"
    )
