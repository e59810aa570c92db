"""A protocol without a backbone, whose parameters select every possible outcome of a run.

Named by `$SSL_CONSOLE_PROTOCOLS=tests.ssl_console.rehearsal`, with the repository on `PYTHONPATH`. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.protocol import ProtocolSpec

Fate = Literal[
    "finish",
    "predict",
    "shout",
    "wait",
    "encode",
    "encode-alone",
    "hang",
    "deaf",
    "resume",
    "children",
    "raise",
    "exit",
    "oom",
    "oom-at-full-batch",
    "card-oom",
    "data",
    "nan",
    "full-disk",
]


@dataclass(frozen=True)
class RehearsalParameters:
    """Outcome of the run."""

    fate: Fate = "finish"
    seconds: float = 0.0
    """Duration of progress reports before it."""
    value: float = 50.0
    code: int = 0
    """Exit code of the fate `exit`."""


PROTOCOLS = (
    ProtocolSpec(
        name="rehearsal",
        version=1,
        family="rehearsal",
        presets={"default": RehearsalParameters()},
        module="tests.ssl_console.rehearsal_evaluation",
        summary="does what it is told, without a backbone",
        needs=("rehearsal",),  # no dataset offers it: cards name the protocol
        evaluation="tests.ssl_console.rehearsal_evaluation",
    ),
)
