"""The identity of a result: an explicit list of what changes the number. Needs neither torch nor numpy.

Two runs with the same key give the same number, so the second need not be carried out. Device, host, paths, batch
size, worker count, and the names under which backbone, task and preset are listed never enter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tasks.card import MetricName
from tasks.spec import ParameterValue, TaskSpec, canonical


def result_identity(
    backbone_identity: Mapping[str, Any],
    manifest_digest: str,
    task: TaskSpec,
    seed: int,
    *,
    precision: str = "float32",
    metric: MetricName = "accuracy",
) -> dict[str, Any]:
    """The parts of a result's key in clear.

    `backbone_identity` is `backbones.identity.identity(...)`: weights digest, architecture, pooling, preprocessing.
    `manifest_digest` is the dataset's: images, labels, classes and splits. `metric` is what the dataset card measures.
    """
    return {
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
) -> str:
    """SHA-256 over `result_identity`, as 64 hexadecimal digits."""
    parts = result_identity(backbone_identity, manifest_digest, task, seed, precision=precision, metric=metric)
    return hashlib.sha256(canonical(parts)).hexdigest()


def comparability_key(manifest_digest: str, task: TaskSpec, *, metric: MetricName = "accuracy") -> str:
    """SHA-256 of what two results must share to stand in one ranking column: the protocol with version and parameters,
    the data, and what is measured. Backbone and seed are what may differ.
    """
    parts = {
        "data": {"manifest": manifest_digest, "metric": metric},
        "task": {"protocol": task.protocol, "version": task.protocol_version, "parameters": dict(task.parameters)},
    }
    return hashlib.sha256(canonical(parts)).hexdigest()


def _as_json(parameters: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """Several values as a list, as JSON reads them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
