"""Interface for modules that plug-ins name as entry points, which the console imports. Needs neither numpy nor torch.

    ssl_console.protocols   module with `PROTOCOLS`, a sequence of `ProtocolSpec`
    ssl_console.datasets    module with `CARDS`, a folder of dataset cards, and `LAYOUTS`, of `Layout` by reader
    ssl_console.backbones   module with `CARDS`, a folder of backbone cards

A protocol declares the targets that it needs and a dataset those that it has: a plug-in's protocol runs on every
dataset, built-in or not, that has what it needs. What `ProtocolSpec.module` and `Layout.reader` name is imported by
workers only, and imports `tasks.evaluation_api`.
"""

from __future__ import annotations

from backbones.catalog.card import BackboneCard
from backbones.catalog.layer_info import FeatureMapInfo
from tasks.catalog.protocol import InputKind, Margin, Parameters, ProtocolSpec, require_above_zero, require_at_least
from tasks.datasets.card import DatasetCard, Layout, MetricName

__all__ = [
    "BackboneCard",
    "DatasetCard",
    "FeatureMapInfo",
    "InputKind",
    "Layout",
    "Margin",
    "MetricName",
    "Parameters",
    "ProtocolSpec",
    "require_above_zero",
    "require_at_least",
]
