"""A protocol that behaves as badly as it is told to: `$SSL_CONSOLE_PROTOCOLS=tests.faults.misconduct`.

Imports neither torch nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.protocol import ProtocolSpec

Fate = Literal[
    "finish",
    "wait",
    "hang",
    "ignore",
    "raise",
    "allocate",
    "allocate-in-child",
    "daemons",
    "flood",
    "binary",
    "leave",
    "warn",
    "clock",
    "predict",
]


@dataclass(frozen=True)
class MisconductParameters:
    """What happens."""

    fate: Fate = "finish"
    seconds: float = 0.0
    """How long it reports progress first."""
    wait: bool = False
    """Whether it waits for the file `go` first."""
    size: int = 0
    """Of the fate: bytes printed by `flood`, warnings of `warn`, bytes of predictions of `predict`."""


PROTOCOLS = (
    ProtocolSpec(
        name="misconduct",
        version=1,
        family="misconduct",
        presets={"default": MisconductParameters()},
        module="tests.faults.misconduct_evaluation",
        summary="behaves as badly as it is told to",
        needs=("misconduct",),  # no dataset has it: cards name the protocol
        evaluation="tests.faults.misconduct_evaluation",
    ),
)
