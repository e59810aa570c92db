"""What is ticked. It lives here, not in a widget: filters, suites and other screens leave it as it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Pair = tuple[str, str]
"""Backbone and task."""
Extent = Literal["none", "some", "all"]


@dataclass(frozen=True)
class Selection:
    """The ticked pairs."""

    pairs: frozenset[Pair] = frozenset()

    def has(self, backbone: str, task: str) -> bool:
        """Whether this one is ticked."""
        return (backbone, task) in self.pairs

    def toggle(self, pairs: Iterable[Pair]) -> Selection:
        """Tick all of these; if all are ticked already, take their ticks away."""
        wanted = frozenset(pairs)
        if wanted <= self.pairs:
            return replace(self, pairs=self.pairs - wanted)
        return replace(self, pairs=self.pairs | wanted)

    def add(self, pairs: Iterable[Pair]) -> Selection:
        """Tick all of these."""
        return replace(self, pairs=self.pairs | frozenset(pairs))

    def extent(self, pairs: Iterable[Pair]) -> Extent:
        """How many of these are ticked."""
        if not self.pairs:
            return "none"
        wanted = frozenset(pairs)
        ticked = len(wanted & self.pairs)
        return "none" if not ticked else "all" if ticked == len(wanted) else "some"

    def ordered(self, backbones: Iterable[str], tasks: Iterable[str]) -> list[Pair]:
        """The ticked pairs in the order of these names; ticks on names that are gone are left out."""
        columns = list(tasks)
        return [(backbone, task) for backbone in backbones for task in columns if (backbone, task) in self.pairs]
