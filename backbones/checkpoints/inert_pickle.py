"""Pickle reader that runs nothing: tensors and arrays are read, every other object becomes an inert stub.

A pickle is a program that calls named functions. Here a name resolves to a fixed table of constructors of plain data,
or to a stub that records its arguments and does nothing. Nothing is imported. Names that no checkpoint needs and that
attacks use (`os.system`, `builtins.eval`) cause the whole file to be refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from backbones.checkpoints.haiku_pickle import (
    ArrayStandIn,
    NumberType,
    RefusedPickle,
    array_from_bytes,
    latin1_bytes,
    number_from_bytes,
)

HOSTILE_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib", "ctypes", "cffi", "pty"),
    *("webbrowser", "code", "codeop", "pickle", "_pickle", "marshal", "multiprocessing", "signal", "asyncio", "http"),
    *("urllib", "tempfile", "platform", "pdb", "bdb", "timeit", "cProfile", "profile", "trace"),
}
"""Modules whose names in a pickle have no legitimate use; including their submodules."""
HARMLESS_BUILTINS = {
    *("set", "frozenset", "complex", "slice", "range", "bytearray", "object", "int", "float", "bool", "str", "bytes"),
    *("list", "tuple", "dict", "type"),
}
"""Names of `builtins` that a pickle may contain; `eval`, `exec`, `getattr` and the like are refused."""
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}


@dataclass(frozen=True)
class InertName:
    """A class or function named by the pickle, which is not imported."""

    name: str


@dataclass(eq=False)
class InertObject:
    """Stub of an object: its arguments and state, as data. Compared and hashed by identity."""

    name: str
    arguments: object = ()
    state: object = None
    items: dict[object, object] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[object, object]:
        """Its state where that is a dictionary, and attributes set by key."""
        return {**(self.state if isinstance(self.state, dict) else {}), **self.items}


@dataclass(frozen=True)
class Constructor:
    """A constructor of plain data that may be called."""

    call: Callable[..., object]


@dataclass(frozen=True)
class TypedBytes:
    """Bytes of the file with their number type."""

    storage: torch.UntypedStorage
    dtype: torch.dtype


StorageReader = Callable[[str, torch.dtype, int], torch.UntypedStorage]
"""Function from a storage's key, type and number of elements to its bytes."""


class InertUnpickler(pickle._Unpickler):
    """Python's own unpickler, in Python, with every calling operation replaced.

    `names` counts the names replaced by stubs. `size` is the length of the file in bytes. `storages` reads tensors'
    bytes; without it, storages are refused.
    """

    def __init__(self, file: Any, size: int, storages: StorageReader | None = None) -> None:  # noqa: ANN401 - as pickle's
        super().__init__(file, encoding="latin1")
        self.names: dict[str, int] = {}
        self._size = size
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the signature of the standard library
        """Constructor of plain data, or a stub; nothing is imported."""
        full = f"{module}.{name}"
        if full in CONSTRUCTORS:
            return Constructor(CONSTRUCTORS[full])
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module.partition(".")[0] in HOSTILE_MODULES or (
            module in ("builtins", "__builtin__") and name not in HARMLESS_BUILTINS
        ):
            raise RefusedPickle(f"the name {full}")
        self.names[full] = self.names.get(full, 0) + 1
        return InertName(full)

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - as above
        """Storage of this file; any other external object is refused.

        torch's older format also stores a class with its source in this way; it is treated as its name.
        """
        if self._storages is not None and isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        if self._storages is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise RefusedPickle(f"an external object ({str(pid)[:60]})")
        _, dtype, key, _, count = pid[:5]
        if isinstance(dtype, InertName):
            raise RefusedPickle(f"a storage of type {dtype.name}, which is quantised or unknown")
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise RefusedPickle("a storage whose description is not text and numbers")
        return TypedBytes(self._storages(key, dtype, count), dtype)

    def _make(self, named: object, arguments: object) -> object:
        if not isinstance(arguments, tuple):
            raise RefusedPickle("a call without a list of arguments")
        if isinstance(named, Constructor):
            return named.call(*arguments)
        if isinstance(named, InertName | InertObject):
            return InertObject(named.name, arguments)
        raise RefusedPickle(f"a call of a {type(named).__name__}")

    def reduce(self) -> None:
        """Replace a call by a stub, or by plain data."""
        stack = cast("Any", self).stack
        arguments = stack.pop()
        stack[-1] = self._make(stack[-1], arguments)

    def newobj_ex(self) -> None:
        """The same with named arguments, which only stubs accept."""
        stack = cast("Any", self).stack
        named, arguments = stack.pop(), stack.pop()
        stack[-1] = self._make(stack[-1], (*arguments, named) if named else arguments)

    def inst(self) -> None:
        """Protocol 0: name from the stream, arguments from the stack."""
        this = cast("Any", self)
        module, name = (this.readline()[:-1].decode("ascii") for _ in range(2))
        this.append(self._make(self.find_class(module, name), tuple(this.pop_mark())))

    def obj(self) -> None:
        """Protocol 1: name and arguments from the stack."""
        this = cast("Any", self)
        named, *arguments = this.pop_mark()
        this.append(self._make(named, tuple(arguments)))

    def build(self) -> None:
        """Set the state of stubs and arrays; ignore that of an ordered dictionary or a tensor."""
        stack = cast("Any", self).stack
        state, target = stack.pop(), stack[-1]
        if isinstance(target, InertObject):
            target.state = state
        elif isinstance(target, ArrayStandIn | NumberType):
            target.set_state(state)
        elif not isinstance(target, dict | Tensor):
            raise RefusedPickle(f"a state for a {type(target).__name__}")

    def _put(self, pairs: Iterable[tuple[object, object]]) -> None:
        target = cast("Any", self).stack[-1]
        if not isinstance(target, dict | InertObject):
            raise RefusedPickle(f"keys for a {type(target).__name__}")
        (target.items if isinstance(target, InertObject) else target).update(pairs)

    def setitem(self) -> None:
        """Set one key."""
        stack = cast("Any", self).stack
        value, key = stack.pop(), stack.pop()
        self._put([(key, value)])

    def setitems(self) -> None:
        """Set several keys."""
        items = cast("Any", self).pop_mark()
        self._put(zip(items[::2], items[1::2], strict=True))

    def _add(self, values: list[object]) -> None:
        target = cast("Any", self).stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(values)
        elif isinstance(target, InertObject):
            target.items.update(enumerate(values, len(target.items)))
        else:
            raise RefusedPickle(f"elements for a {type(target).__name__}")

    def append_one(self) -> None:
        self._add([cast("Any", self).stack.pop()])

    def append_many(self) -> None:
        """Append several elements."""
        self._add(cast("Any", self).pop_mark())

    def bytearray8(self) -> None:
        """Bytes, whose length is checked before memory is allocated."""
        this = cast("Any", self)
        count = int.from_bytes(this.read(8), "little")
        if count > self._size:
            raise RefusedPickle("more bytes than the file has")
        this.append(bytes(this.read(count)))

    def never(self) -> None:
        """Refuse operations that reach outside the file."""
        raise RefusedPickle("an extension code or an external buffer")

    dispatch = cast(
        "Any",
        {
            **pickle._Unpickler.dispatch,
            pickle.REDUCE[0]: reduce,
            pickle.NEWOBJ[0]: reduce,
            pickle.NEWOBJ_EX[0]: newobj_ex,
            pickle.INST[0]: inst,
            pickle.OBJ[0]: obj,
            pickle.BUILD[0]: build,
            pickle.SETITEM[0]: setitem,
            pickle.SETITEMS[0]: setitems,
            pickle.APPEND[0]: append_one,
            pickle.APPENDS[0]: append_many,
            pickle.ADDITEMS[0]: append_many,
            **dict.fromkeys((pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]), never),
            **dict.fromkeys((pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0]), never),
            pickle.BYTEARRAY8[0]: bytearray8,
        },
    )


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> Tensor:
    """torch's `_rebuild_tensor_v2`; torch checks that the tensor stays within the storage."""
    dtype = next((item for item in rest if isinstance(item, torch.dtype)), None)
    if not isinstance(storage, TypedBytes) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise RefusedPickle("a tensor whose content is not a storage of this file")
    empty = torch.empty(0, dtype=dtype or storage.dtype)
    return empty.set_(storage.storage, cast("int", offset), size, stride)


def _parameter(data: object, *_: object) -> object:
    return data


def _of_type(make: object, _type: object, arguments: object, _state: object = None) -> object:
    """Plain tensor of a tensor subclass."""
    if not isinstance(make, Constructor) or not isinstance(arguments, tuple):
        raise RefusedPickle("a tensor of a custom class")
    return make.call(*arguments)


def _mapping(value: object = None, *_: object) -> dict[object, object]:
    """Dictionary of any class; the factory of a defaultdict is ignored."""
    if isinstance(value, dict):
        return dict(value)
    return dict(cast("Any", value)) if isinstance(value, list | tuple) else {}


def _set(value: object = ()) -> set[object]:
    return set(value) if isinstance(value, list | tuple | set) else set()


def _size(value: object = ()) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


_NUMPY: dict[str, Callable[..., object]] = {
    "ndarray": ArrayStandIn,
    "dtype": NumberType,
    **{f"{core}.multiarray._reconstruct": lambda *_: ArrayStandIn() for core in ("core", "_core")},
    **{f"{core}.multiarray.scalar": number_from_bytes for core in ("core", "_core")},
    **{f"{core}.numeric._frombuffer": array_from_bytes for core in ("core", "_core")},
}
CONSTRUCTORS: dict[str, Callable[..., object]] = {
    "_codecs.encode": latin1_bytes,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "builtins.dict": _mapping,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "__builtin__.set": _set,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    **{f"numpy.{name}": call for name, call in _NUMPY.items()},
}
"""Constructors of plain data; each validates its arguments."""
