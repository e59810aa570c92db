"""One task, fully resolved: protocol, version, dataset and every parameter that changes the number."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict

from backbones.card import Scalar
from tasks.parameters import PROTOCOLS, Parameters

ParameterValue = Scalar | tuple[Scalar, ...]


class TaskSpec(BaseModel):
    """What travels to the worker and into the result's key. `name` is `protocol/dataset` or a task card's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protocol: str
    protocol_version: int
    dataset: str
    preset: str
    parameters: dict[str, ParameterValue]

    @property
    def variant(self) -> str:
        """`preset`, or `preset+digest` when parameters differ from it: what separates columns of one task."""
        preset = PROTOCOLS[self.protocol].presets.get(self.preset)
        if preset is not None and canonical(asdict(preset)) == canonical(self.parameters):
            return self.preset
        return f"{self.preset}+{hashlib.sha256(canonical(self.parameters)).hexdigest()[:6]}"

    def typed_parameters(self) -> Parameters:
        """The protocol's own frozen dataclass."""
        return type(PROTOCOLS[self.protocol].presets["default"])(**self.parameters)


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces: the bytes over which every digest is taken."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
