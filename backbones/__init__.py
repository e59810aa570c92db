"""Backbones: cards, loaders and converters. Imports nothing else of this project.

`from backbones import open_backbone` opens a backbone in a notebook and imports torch; importing the package does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from backbones.io import light_import

if TYPE_CHECKING:
    from backbones.model.open_backbone import OpenBackbone, open_backbone

__all__ = ["OpenBackbone", "open_backbone"]

light_import.install()


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("backbones.model.open_backbone"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
