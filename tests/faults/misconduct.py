"""A protocol with configurable misbehaviour: `$SSL_CONSOLE_PROTOCOLS=tests.faults.misconduct`.

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
    """Kind of misbehaviour."""

    fate: Fate = "finish"
    seconds: float = 0.0
    """Duration of progress reports before it."""
    wait: bool = False
    """Whether to wait for the file `go` first."""
    size: int = 0
    """Size for the fate: bytes printed by `flood`, warnings of `warn`, bytes of predictions of `predict`."""


PROTOCOLS = (
    ProtocolSpec(
        name="misconduct",
        version=1,
        family="misconduct",
        presets={"default": MisconductParameters()},
        module="tests.faults.misconduct_evaluation",
        summary="configurable misbehaviour",
        needs=("misconduct",),  # no dataset offers it: cards name the protocol
        evaluation="tests.faults.misconduct_evaluation",
    ),
)
