"""How architectures of the user's own are named: `module:function` or `/path/to/file.py:function`. Needs no torch."""

from __future__ import annotations

from pathlib import Path


def is_code(architecture: str) -> bool:
    """Whether an architecture's name is `module:function` or `file.py:function`, not one of timm's."""
    return ":" in architecture


def code_file(architecture: str) -> Path | None:
    """The file of `/path/to/file.py:function`; None for a function of an installed package."""
    place = architecture.rpartition(":")[0]
    return Path(place).expanduser() if place.endswith(".py") else None
