"""Reads checkpoint files as data: safetensors, and torch files with `weights_only`, never anything that runs code."""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file

from backbones.errors import WeightsError

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
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
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a whole torch checkpoint: {first}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    return cast("dict[str, object]", dict(content))


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
