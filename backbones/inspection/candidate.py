"""Candidate architectures for a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from timm.models import list_models

from backbones.catalog.card import ArchitectureValue, Pooling
from backbones.checkpoints.key_mapping import Shape


@dataclass(frozen=True)
class Question:
    """An argument that does not follow from the tensors: its description, name, and a plausible value."""

    about: str
    argument: str
    suggestion: int

    def __str__(self) -> str:
        return f"{self.about} does not follow from the tensors: set it, e.g. --arg {self.argument}={self.suggestion}"


HEADS = "the number of attention heads"


@dataclass(frozen=True)
class ArchitectureCandidate:
    """An architecture with its arguments. The tensors decide whether it matches; `assumptions` are what they do
    not show.
    """

    architecture: str
    arguments: dict[str, ArchitectureValue] = field(default_factory=dict)
    published: bool = False
    """Whether it is the only published model of its shape, so that it is proposed without a question."""
    pooling: Pooling = "default"
    assumptions: tuple[str, ...] = ()
    trust_imports: bool = False
    """Whether the user trusts the imports of the architecture's code, if it is the user's own."""
    question: Question | None = None
    """Argument that must be given before it can be used."""


class NoArchitecture(ValueError):  # noqa: N818 - a domain word, raised as such
    """The tensors belong to a network that timm does not have; the message describes it."""


def count(shapes: Mapping[str, Shape], name: str) -> int:
    """Number of the numbered modules below `name`."""
    numbers = (re.match(rf"{re.escape(name)}\.(\d+)\.", key) for key in shapes)
    return 1 + max((int(found[1]) for found in numbers if found), default=-1)


def fitting_names(*patterns: str) -> list[str]:
    """timm's architectures that match these patterns."""
    return [name for pattern in patterns for name in list_models(pattern)]
