"""An architecture to try for a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from timm.models import list_models

from backbones.catalog.card import ArchitectureValue, Pooling
from backbones.checkpoints.key_mapping import Shape


@dataclass(frozen=True)
class Question:
    """An argument that the tensors do not show: what it is, its name, and a plausible value."""

    about: str
    argument: str
    suggestion: int

    def __str__(self) -> str:
        return f"its tensors do not show {self.about}: give it, --arg {self.argument}={self.suggestion} say"


HEADS = "the number of attention heads"


@dataclass(frozen=True)
class ArchitectureCandidate:
    """An architecture with what it needs. Tensors decide whether it fits; `assumptions` are what they do not show."""

    architecture: str
    arguments: dict[str, ArchitectureValue] = field(default_factory=dict)
    published: bool = False
    """Whether it is the one published model of its shape, so that it is proposed without asking."""
    pooling: Pooling = "default"
    assumptions: tuple[str, ...] = ()
    trust_imports: bool = False
    """Whether the user trusts what its code imports, where it is code of the user's."""
    question: Question | None = None
    """What must be given before it can be used."""


class NoArchitecture(ValueError):  # noqa: N818 - a domain word, raised as such
    """The tensors are a network's, and timm has none like it; the message says what was seen."""


def count(shapes: Mapping[str, Shape], name: str) -> int:
    """Number of the numbered modules below `name`."""
    numbers = (re.match(rf"{re.escape(name)}\.(\d+)\.", key) for key in shapes)
    return 1 + max((int(found[1]) for found in numbers if found), default=-1)


def fitting_names(*patterns: str) -> list[str]:
    """timm's architectures of these patterns."""
    return [name for pattern in patterns for name in list_models(pattern)]
