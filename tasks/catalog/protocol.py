"""A protocol as the console knows it, and protocols that come from outside this package.

Modules named in `$SSL_CONSOLE_PROTOCOLS` (separated by commas) are imported, and the `ProtocolFacts` in their
`PROTOCOLS` join the built-in ones. Of this package, such a module imports `tasks.catalog.protocol` alone (it is itself
imported by everything else); what it does is in a second module, which it names as `evaluation`: see `ProtocolFacts`.
Installed packages bring protocols the same way by entry points: see `backbones.io.plugins`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

from backbones.catalog.card import BackboneCard
from backbones.catalog.feature_map_info import FeatureMapInfo
from backbones.io.plugins import PROTOCOLS as PROTOCOL_GROUP
from backbones.io.plugins import PlugInProblem, find

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_PROTOCOLS"
DEFAULT_EVALUATION = "tasks.evaluation.features"
IMAGE_EVALUATION = "tasks.evaluation.images"


class Parameters(Protocol):
    """Any frozen dataclass whose every field changes the number."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol as the console knows it."""

    name: str
    version: int
    """Raised whenever the same parameters would give another number."""
    family: str
    """Name under which `--set family.key=value` addresses it."""
    presets: Mapping[str, Parameters]
    """At least `default`; all of one dataclass."""
    module: str
    """Where `evaluate` lives; imported by the worker only."""
    summary: str
    evaluation: str = DEFAULT_EVALUATION
    """Module whose `evaluate_task` (see `tasks.evaluation.features`) carries a whole run out, and whose
    `EncoderCache()` is kept between runs. The default gives stored features to `module`; `IMAGE_EVALUATION` gives it
    images and a backbone that
    can be trained; a protocol that wants something else brings its own."""
    unsuitable: Callable[[BackboneCard, FeatureMapInfo, Parameters], str | None] | None = None
    """Why the protocol with these parameters cannot measure the backbone, in words, or None if it can. Asked before
    anything is queued; a protocol that works with every backbone has none."""


class PlugInError(RuntimeError):
    """A module of `$SSL_CONSOLE_PROTOCOLS` that cannot be used; the message names it."""


def outside_protocols(taken: Collection[str]) -> Iterator[ProtocolSpec]:
    """The protocols of all modules that the environment names, then those of plug-ins.

    `taken` are the names of the built-in ones, which no plug-in may replace. What cannot be used joins
    `PROTOCOL_PROBLEMS`.
    Raises PlugInError for a module of the environment variable: whoever sets it wants to know.
    """
    for name in filter(None, map(str.strip, os.environ.get(ENVIRONMENT_VARIABLE, "").split(","))):
        try:
            yield from import_module(name).PROTOCOLS
        except (ImportError, AttributeError, TypeError) as error:
            raise PlugInError(f"${ENVIRONMENT_VARIABLE} names {name!r}, which cannot be used: {error}") from error
    found = find(PROTOCOL_GROUP)
    PROTOCOL_PROBLEMS.extend(found.problems)
    for plug_in in found.plug_ins:
        for facts in getattr(plug_in.module, "PROTOCOLS", ()):
            if isinstance(facts, ProtocolSpec) and facts.name not in taken and "default" in facts.presets:
                yield facts
            else:
                PROTOCOL_PROBLEMS.append(
                    plug_in.problem(f"{facts!r:.80} is no protocol with a default preset and a free name")
                )


PROTOCOL_PROBLEMS: list[PlugInProblem] = []
"""Why protocols of plug-ins were left out; complete once `tasks.catalog.protocols` was imported."""


def require_at_least(least: int, **values: int) -> None:
    """Raises ValueError naming the first value that is smaller."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def require_above_zero(**values: float) -> None:
    """Raises ValueError naming the first value that is zero, negative or not a number."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
