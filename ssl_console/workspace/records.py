"""Base class of records in files, and memory of many equal-shaped records.

As pydantic makes them, objects store a dictionary with a hash table of its own, 0.5 to 1 kB, and the set of their
explicitly given fields, 0.7 to 2 kB. Instances whose attributes are set one by one share the table of their class
(CPython), and equal sets are stored once. For frozen models only, because their fields and sets never change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

_M = TypeVar("_M", bound=BaseModel)


class Record(BaseModel):
    """A record in a file: frozen, unknown keys ignored so that older readers open newer files."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass
class SharedFieldSets:
    """Equal sets of given fields, each stored once."""

    _known: dict[frozenset[str], set[str]] = field(default_factory=dict)

    def share(self, model: _M) -> _M:
        """An equal object in less memory, with a shared set."""
        given = model.__pydantic_fields_set__
        return _with_shared_keys(model, self._known.setdefault(frozenset(given), given))


def shares_keys(model: type[_M]) -> type[_M]:
    """Decorator of a class that many objects in memory have: reserve its hash table before any object exists.

    CPython makes the table smaller with each object that does not use it; it holds 30 fields at most.
    """
    first = model.__new__(model)
    for name in model.model_fields:
        object.__setattr__(first, name, None)
    return model


def with_values(model: _M, **values: object) -> _M:
    """A copy with other values for some fields, which are not validated; unlike `model_copy`, in little memory."""
    copy = _with_shared_keys(model, model.__pydantic_fields_set__)
    for name, value in values.items():
        object.__setattr__(copy, name, value)
    return copy


def _with_shared_keys(model: _M, given: set[str]) -> _M:
    copy = type(model).__new__(type(model))
    for name, value in model.__dict__.items():
        object.__setattr__(copy, name, value)
    object.__setattr__(copy, "__pydantic_fields_set__", given)
    object.__setattr__(copy, "__pydantic_extra__", None)
    object.__setattr__(copy, "__pydantic_private__", None)
    return copy
