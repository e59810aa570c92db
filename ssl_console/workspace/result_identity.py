"""Identity of a result, and what differs between two identities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.features.key import flattened

Identity = Mapping[str, Any]
Identities = Callable[[str], Identity | None]
"""Parts of a result's key by run id; None when unknown."""
COMPARED = ("data", "task", "precision")
"""Parts of a result's identity that must be equal in a comparison."""
CHANGES = (
    ("backbone.weights", "the weights changed"),
    ("backbone.preprocessing", "the preprocessing changed"),
    ("backbone", "the backbone's card changed"),
    ("data", "the dataset changed"),
    ("task.version", "the protocol has a new version"),
    ("task", "the task's parameters changed"),
    ("precision", "the precision changed"),
)
"""Part of a result's identity and the description of its change; the first match counts."""


def what_changed(old: Identity, new: Identity) -> str:
    """Description of the parts in which two identities differ."""
    before, after = flattened(old), flattened(new)
    parts = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    words = (next((text for prefix, text in CHANGES if _within(part, prefix)), f"{part} changed") for part in parts)
    return ", ".join(dict.fromkeys(words))


def _within(part: str, prefix: str) -> bool:
    return part == prefix or part.startswith((f"{prefix}.", f"{prefix}_"))
