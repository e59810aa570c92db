"""One task, fully resolved: protocol, version, dataset and every parameter that affects the score."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

from backbones.catalog.card import Scalar
from backbones.io.file_digests import canonical
from tasks.catalog.protocol import Parameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import MetricName

ParameterValue = Scalar | tuple[Scalar, ...]


class TaskSpec(BaseModel):
    """Specification for the worker and the result's key. `name` is `protocol/dataset` or a task card's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protocol: str
    protocol_version: int
    dataset: str
    preset: str
    parameters: dict[str, ParameterValue]

    @property
    def variant(self) -> str:
        """`preset`, or `preset+digest` if parameters differ from it: identifies the columns of one task."""
        preset = PROTOCOLS[self.protocol].presets.get(self.preset)
        if preset is not None and canonical(asdict(preset)) == canonical(self.parameters):
            return self.preset
        return f"{self.preset}+{hashlib.sha256(canonical(self.parameters)).hexdigest()[:6]}"

    @property
    def further_datasets(self) -> tuple[str, ...]:
        """Names of datasets whose test images are scored too: the parameter `also`."""
        also = self.parameters.get("also", ())
        return tuple(str(name) for name in also) if isinstance(also, tuple | list) else ()

    def typed_parameters(self) -> Parameters:
        """The protocol's own frozen dataclass."""
        return type(PROTOCOLS[self.protocol].presets["default"])(**self.parameters)


NO_CONDITIONS: Mapping[str, Any] = MappingProxyType({})


def result_identity(
    backbone_identity: Mapping[str, Any],
    manifest_digest: str,
    task: TaskSpec,
    seed: int,
    *,
    precision: str = "float32",
    metric: MetricName = "accuracy",
    conditions: Mapping[str, Any] = NO_CONDITIONS,
) -> dict[str, Any]:
    """The parts of a result's key in readable form.

    `backbone_identity` is `backbones.catalog.card.identity(...)`: weights digest, architecture, pooling, preprocessing.
    `manifest_digest` is the dataset's: the content of images and how they are read (background, orientation, bits),
    labels, classes and splits. `metric` is that of the dataset card. `conditions` are further settings that affect the
    score (layers, engine); those with their default are omitted, so that earlier keys stay valid.
    """
    return {
        **conditions,
        "backbone": dict(backbone_identity),
        "data": {"manifest": manifest_digest, "metric": metric},
        "task": {
            "protocol": task.protocol,
            "version": task.protocol_version,
            "parameters": _as_json(task.parameters),
        },
        "seed": seed,
        "precision": precision,
    }


def result_key(
    backbone_identity: Mapping[str, Any],
    manifest_digest: str,
    task: TaskSpec,
    seed: int,
    *,
    precision: str = "float32",
    metric: MetricName = "accuracy",
    conditions: Mapping[str, Any] = NO_CONDITIONS,
) -> str:
    """SHA-256 over `result_identity`, as 64 hexadecimal digits."""
    parts = result_identity(
        backbone_identity, manifest_digest, task, seed, precision=precision, metric=metric, conditions=conditions
    )
    return hashlib.sha256(canonical(parts)).hexdigest()


def comparability_key(manifest_digest: str, task: TaskSpec, *, metric: MetricName = "accuracy") -> str:
    """SHA-256 of the parts that results of one ranking column have in common: protocol with version and parameters,
    data, and metric. Backbone and seed may differ.
    """
    parts = {
        "data": {"manifest": manifest_digest, "metric": metric},
        "task": {"protocol": task.protocol, "version": task.protocol_version, "parameters": dict(task.parameters)},
    }
    return hashlib.sha256(canonical(parts)).hexdigest()


def _as_json(parameters: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """Several values as a list, as JSON reads them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
