"""Measurements on backbones: datasets, protocols and suites. Does not depend on the console.

`from tasks import linear, knn, few_shot` gives the protocols as functions on arrays (`tasks.on_arrays`); numpy and
torch are imported with them, and not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.on_arrays import few_shot, knn, linear

__all__ = ["few_shot", "knn", "linear"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("tasks.on_arrays"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
