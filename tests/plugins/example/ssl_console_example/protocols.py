"""The protocol `centroid`, as the console knows it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.catalog.protocol import ProtocolSpec


@dataclass(frozen=True)
class CentroidParameters:
    """Every field changes the number."""

    preprocessing: str = "paper"
    normalise: bool = True
    """Whether features have unit length."""


PROTOCOLS = (
    ProtocolSpec(
        name="centroid",
        version=1,
        family="centroid",
        presets={"default": CentroidParameters()},
        module="ssl_console_example.centroid",
        summary="the nearest class mean of all training images",
    ),
)
