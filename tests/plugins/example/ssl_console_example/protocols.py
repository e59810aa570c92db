"""The protocol `centroid`: its parameters and required targets."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.plugin_api import ProtocolSpec


@dataclass(frozen=True)
class CentroidParameters:
    """Every field changes the result."""

    preprocessing: str = "paper"
    normalise: bool = True
    """Whether features are normalised to unit length."""


PROTOCOLS = (
    ProtocolSpec(
        name="centroid",
        version=1,
        family="centroid",
        presets={"default": CentroidParameters()},
        module="ssl_console_example.centroid",
        summary="the nearest class mean of all training images",
        inputs="splits",
        needs=("labels",),
        rescore="tasks.metrics.rescore:classification",
    ),
)
