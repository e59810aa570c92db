"""Reading of haiku checkpoints (BYOL's published pickle) without jax, haiku or dill, and without running
anything.

A pickle is a program that calls named functions. Here names are looked up in a fixed table of inert stand-ins: nothing
is imported, and a name outside of the table is refused. Arrays become numpy arrays of plain numbers.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from backbones.io.errors import WeightsError

LARGEST = 4 * 1024**3
MOST_ITEMS = 200_000
"""A checkpoint has thousands of values. A list that contains another one twice, and so on, has exponentially many
in a few bytes.
"""
_NUMBER = re.compile(r"[<>|=]?[biuf][1248]")


class RefusedPickle(Exception):  # noqa: N818 - a domain word, raised as such
    """The pickle contains a name that no checkpoint needs; the message contains it."""


class NumberType:
    """Stand-in for numpy.dtype: a type of plain numbers."""

    def __init__(self, code: object, *_: object) -> None:
        text = code if isinstance(code, str) else ""
        if not _NUMBER.fullmatch(text):
            raise RefusedPickle(f"an array of {code!r}, which is not a type of plain numbers")
        self.dtype = np.dtype(text)

    def set_state(self, state: object) -> None:
        """Set the byte order."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise RefusedPickle(f"the byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(cast("Any", order))


class ArrayStandIn:
    """Stand-in for numpy.ndarray while it is being filled."""

    value: np.ndarray[Any, np.dtype[Any]]

    def set_state(self, state: object) -> None:
        """Set shape, type and bytes."""
        _, shape, number_type, fortran, raw = state if isinstance(state, tuple) and len(state) == 5 else (None,) * 5
        if not isinstance(number_type, NumberType) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
            raise RefusedPickle("an array whose content is not plain bytes")
        flat = np.frombuffer(raw, dtype=number_type.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _new_array(*_: object) -> ArrayStandIn:
    """numpy's `_reconstruct`, and the equivalents of dill and jax: an empty array that the state fills."""
    return ArrayStandIn()


def _filled_array(_make: object, _arguments: object, state: object, *_: object) -> ArrayStandIn:
    array = ArrayStandIn()
    array.set_state(state)
    return array


def array_from_bytes(raw: object, number_type: object, shape: object, order: object = "C", *_: object) -> ArrayStandIn:
    """numpy's `_frombuffer`, used by pickles of protocol 5."""
    array = ArrayStandIn()
    array.set_state((1, shape, number_type, order == "F", raw))
    return array


def number_from_bytes(number_type: object, raw: object = b"") -> object:
    """numpy's `scalar`."""
    if not isinstance(number_type, NumberType) or not isinstance(raw, bytes):
        raise RefusedPickle("a number whose content is not plain bytes")
    return np.frombuffer(raw, dtype=number_type.dtype)[0].item()


def latin1_bytes(text: object, encoding: object = "latin1") -> bytes:
    """`_codecs.encode`, used by protocol 2 for bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedPickle(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


def _mapping(value: object = None) -> dict[object, object]:
    if value is not None and not isinstance(value, dict):
        raise RefusedPickle("a mapping that is not created from a dictionary")
    return cast("dict[object, object]", value or {})


def _named_tuple(name: object, fields: object, *_: object) -> type:
    """dill's representation of a NamedTuple: a tuple class with field names."""
    names = (
        tuple(fields.replace(",", " ").split()) if isinstance(fields, str) else tuple(cast("tuple[str, ...]", fields))
    )
    return type(str(name), (tuple,), {"field_names": names, "__new__": lambda cls, *values: tuple.__new__(cls, values)})


_NUMPY = {
    "ndarray": ArrayStandIn,
    "dtype": NumberType,
    "core.multiarray._reconstruct": _new_array,
    "_core.multiarray._reconstruct": _new_array,
    "core.multiarray.scalar": number_from_bytes,
    "_core.multiarray.scalar": number_from_bytes,
}
TABLE: Mapping[str, object] = {
    "_codecs.encode": latin1_bytes,
    "collections.OrderedDict": _mapping,
    "haiku._src.data_structures.FlatMapping": _mapping,
    "haiku._src.data_structures.FlatMap": _mapping,
    "haiku._src.data_structures.frozendict": _mapping,
    "dill._dill._create_namedtuple": _named_tuple,
    "dill._dill._create_array": _filled_array,
    "jax._src.array._reconstruct_array": _filled_array,
    "jax._src.device_array.reconstruct_device_array": _filled_array,
    **{f"numpy.{name}": value for name, value in _NUMPY.items()},
}


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, in Python: its memory only grows with the content of the file."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the signature of the standard library
        full = f"{module}.{name}"
        if full not in TABLE:
            raise RefusedPickle(f"the name {full}")
        return TABLE[full]

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - as above
        raise RefusedPickle(f"an external object ({pid!r})")

    def build(self) -> None:
        """Set the state of an array or its type only: on a function it would set the function's attributes."""
        stack = cast("Any", self).stack
        state, target = stack.pop(), stack[-1]
        if not isinstance(target, (ArrayStandIn, NumberType)):
            raise RefusedPickle(f"a state for a {type(target).__name__}")
        target.set_state(state)

    def bytearray8(self) -> None:
        """Refuse: memory would be allocated before a single byte is read."""
        raise RefusedPickle("a bytearray")

    dispatch = cast("Any", {**pickle._Unpickler.dispatch, pickle.BUILD[0]: build, pickle.BYTEARRAY8[0]: bytearray8})


def read_haiku_pickle(path: Path) -> dict[str, object]:
    """The file's dictionary; NamedTuples become dictionaries by field name, arrays numpy arrays.

    Raises WeightsError when the file is not a pickle of arrays, with the refused name; nothing has been run then.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise WeightsError(f"{path} has {size:,} bytes; a pickle is read up to {LARGEST:,}")
    try:
        content = read_plain_pickle(path)
    except RefusedPickle as error:
        raise WeightsError(
            f"{path} uses {error}: refused, and nothing was run. It is not a haiku checkpoint"
        ) from error
    except BROKEN as error:
        raise WeightsError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}): is it whole?"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dictionary")
    return content


def read_plain_pickle(path: Path) -> object:
    """Read lists, dictionaries, numbers, text and numpy arrays of a pickle; nothing is run.

    Raises RefusedPickle with the name of anything else, and one of `BROKEN` for bytes that are not a pickle.
    """
    with path.open("rb") as file:
        return _plain(_Unpickler(file).load(), _UnpickleBudget())


BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""Exceptions of Python's unpickler for bytes that are not a pickle."""


@dataclass
class _UnpickleBudget:
    """Number of further values that may be returned."""

    left: int = MOST_ITEMS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RefusedPickle(f"more than {MOST_ITEMS:,} values")


def _plain(value: object, budget: _UnpickleBudget) -> object:
    """Convert stand-ins to plain values, recursively."""
    budget.take()
    if isinstance(value, ArrayStandIn):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item, budget) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [_plain(item, budget) for item in value]
        names = cast("tuple[str, ...] | None", getattr(value, "field_names", None))
        return tuple(items) if names is None else dict(zip(names, items, strict=False))
    return [_plain(item, budget) for item in value] if isinstance(value, list) else value
