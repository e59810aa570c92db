"""Identity of a result, and what differs between two identities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.features.manifest import Part, flattened

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


@dataclass(frozen=True)
class PartDifference:
    """One part in which two identities or records differ; None on the side without it."""

    name: str
    """Dotted name, as in the record."""
    first: Part
    second: Part


def differences(first: Identity, second: Identity, only: Iterable[str] | None = None) -> tuple[PartDifference, ...]:
    """All parts that differ, in the order of the first; `only` restricts them to these top-level parts."""
    named = tuple(only if only is not None else dict.fromkeys([*first, *second]))
    one, other = (flattened({name: whole[name] for name in named if name in whole}) for whole in (first, second))
    names = dict.fromkeys([*one, *other])
    return tuple(
        PartDifference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)
    )


def what_changed(old: Identity, new: Identity, only: Iterable[str] | None = None) -> str:
    """Description of the parts in which two identities differ."""
    parts = sorted(change.name for change in differences(old, new, only))
    words = (next((text for prefix, text in CHANGES if _within(part, prefix)), f"{part} changed") for part in parts)
    return ", ".join(dict.fromkeys(words))


def _within(part: str, prefix: str) -> bool:
    return part == prefix or part.startswith((f"{prefix}.", f"{prefix}_"))
