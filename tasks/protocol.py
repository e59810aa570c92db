"""A protocol as the console knows it, and protocols that come from outside this package.

Modules named in `$SSL_CONSOLE_PROTOCOLS` (separated by commas) are imported, and the `ProtocolFacts` in their
`PROTOCOLS` join the built-in ones. Of this package, such a module imports `tasks.protocol` alone (it is itself imported
by everything else); what it does is in a second module, which it names as `evaluation`: see `ProtocolFacts`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

from backbones.anatomy import Anatomy
from backbones.card import BackboneCard

ENVIRONMENT_VARIABLE = "SSL_CONSOLE_PROTOCOLS"
DEFAULT_EVALUATION = "tasks.evaluation"
IMAGE_EVALUATION = "tasks.image_evaluation"


class Parameters(Protocol):
    """Any frozen dataclass whose every field changes the number."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class ProtocolFacts:
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
    """Module whose `evaluate_task` (see `tasks.evaluation`) carries a whole run out, and whose `EncoderCache()` is kept
    between runs. The default gives stored features to `module`; `IMAGE_EVALUATION` gives it images and a backbone that
    can be trained; a protocol that wants something else brings its own."""
    unsuitable: Callable[[BackboneCard, Anatomy, Parameters], str | None] | None = None
    """Why the protocol with these parameters cannot measure the backbone, in words, or None if it can. Asked before
    anything is queued; a protocol that works with every backbone has none."""


class PlugInError(RuntimeError):
    """A module of `$SSL_CONSOLE_PROTOCOLS` that cannot be used; the message names it."""


def outside_protocols() -> Iterator[ProtocolFacts]:
    """The protocols of all modules that the environment names. Raises PlugInError."""
    for name in filter(None, map(str.strip, os.environ.get(ENVIRONMENT_VARIABLE, "").split(","))):
        try:
            yield from import_module(name).PROTOCOLS
        except (ImportError, AttributeError, TypeError) as error:
            raise PlugInError(f"${ENVIRONMENT_VARIABLE} names {name!r}, which cannot be used: {error}") from error
