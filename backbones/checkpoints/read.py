"""Reads checkpoint files as data: safetensors, and torch files with `weights_only`, never anything that runs code."""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file

from backbones.io.errors import WeightsError

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
MOST_ENTRIES, DEEPEST = 1_000_000, 30
"""Of a checkpoint's dictionaries: its optimizer may keep thousands. One that holds another twice, and so on, has
endlessly many entries in a file of a few bytes."""
_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def read_checkpoint(path: Path) -> dict[str, object]:
    """The dictionary that the file holds, nested as it was saved, tensors on the CPU.

    Raises WeightsError for a file that is broken, is no dictionary, or names anything that is not data.
    """
    try:
        content = load_file(path) if _is_safetensors(path) else _load(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except _BROKEN as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a whole torch checkpoint: {first}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    _check_extent(path, content)
    return cast("dict[str, object]", dict(content))


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
)
"""What torch's reader raises for bytes that are no checkpoint, `RecursionError` among the `RuntimeError`s."""


def _check_extent(path: Path, content: Mapping[object, object]) -> None:
    """That walking through all dictionaries comes to an end. Raises WeightsError."""
    left, level = MOST_ENTRIES, [content]
    for _ in range(DEEPEST):
        left -= sum(map(len, level))
        if left < 0:
            raise WeightsError(f"{path} holds more than {MOST_ENTRIES:,} entries, as no checkpoint does: not read")
        level = [value for one in level for value in one.values() if isinstance(value, Mapping)]
        if not level:
            return
    raise WeightsError(f"{path} is nested more than {DEEPEST} levels deep, as no checkpoint is: not read")


def safe_globals() -> Any:  # noqa: ANN401 - torch gives its context manager no name
    """A context in which torch also takes the harmless types that published checkpoints hold beside their tensors.

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


def _load(path: Path) -> object:
    with safe_globals():
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """By content: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{" and start[:4] != b"PK\x03\x04")


def _refusal(path: Path, message: str) -> str:
    found = _REFUSED.search(message)
    if found is None:
        return f"{path} is not a whole torch checkpoint"
    return (
        f"{path} refers to {found[1]}, which is code and not data: refused, and nothing was run. "
        "Save the bare state dict (torch.save(model.state_dict(), ...)) or safetensors instead"
    )
