"""A protocol that returns a given number: `$SSL_CONSOLE_PROTOCOLS=tests.ssl_console.cli.echo`.

Imports neither torch nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.catalog.protocol import ProtocolSpec


@dataclass(frozen=True)
class EchoParameters:
    """Number to return."""

    value: float = 50.0
    seconds: float = 0.0
    """Duration of progress reports before it."""
    fate: Literal["finish", "raise"] = "finish"


PROTOCOLS = (
    ProtocolSpec(
        name="echo",
        version=1,
        family="echo",
        presets={"default": EchoParameters(), "paper": EchoParameters(value=60.0)},
        module="tests.ssl_console.cli.echo_evaluation",
        summary="gives the number it is told",
        needs=("echo",),  # no dataset offers it: cards name the protocol
        evaluation="tests.ssl_console.cli.echo_evaluation",
    ),
)
