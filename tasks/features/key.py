"""What stored features depend on, and the digest that names them. Needs neither torch nor numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backbones.catalog.layer_columns import LayerRequest
from backbones.io.canonical_json import canonical

FORMAT = 1
"""Raised when entries of older programs must not be read any more."""

Part = None | bool | int | float | str


@dataclass(frozen=True)
class FeatureKey:
    """The explicit list of what changes features. Batch size, device, host and path never enter.

    `backbone` is `backbones.catalog.card.identity(...)` (weights digest, architecture, pooling, preprocessing),
    `images` the digest of one source split's images (content, order, and how they are read), `precision` the arithmetic
    of the encoder. `conditions` are whatever else changes features and is not at its default (layers, engine); those at
    their default stay out, so that earlier keys hold.
    """

    backbone: Mapping[str, Any]
    images: str
    precision: str = "float32"
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Part]:
        """Every part in clear, under dotted names: `backbone.preprocessing.size` say."""
        whole = {"backbone": self.backbone, "images": self.images, "precision": self.precision, "format": FORMAT}
        return flattened({**self.conditions, **whole})

    @property
    def digest(self) -> str:
        """The name of the entry: 40 hexadecimal digits."""
        return digest_parts(self.parts)


def digest_parts(parts: Mapping[str, Part]) -> str:
    """The name of the entry that these parts make."""
    return hashlib.sha256(canonical(dict(parts))).hexdigest()[:40]


def layer_request_of(parts: Mapping[str, Part]) -> LayerRequest | None:
    """The layer-wise features that these parts name; None for pooled features."""
    if "layers.blocks" not in parts:
        return None
    return LayerRequest.model_validate({"blocks": parts["layers.blocks"], "storage": parts["layers.storage"]})


def flattened(value: object, prefix: str = "") -> dict[str, Part]:
    """Nested mappings and sequences as one level of dotted names. Raises TypeError on anything that is not JSON."""
    if isinstance(value, Mapping):
        children: list[tuple[str, object]] = [(str(name), child) for name, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(str(place), child) for place, child in enumerate(value)]
    elif value is None or isinstance(value, bool | int | float | str):
        return {prefix: value}
    else:
        raise TypeError(f"{prefix} = {value!r} is a {type(value).__name__}: only JSON values can name features")
    dotted = prefix and f"{prefix}."
    return {name: leaf for place, child in children for name, leaf in flattened(child, f"{dotted}{place}").items()}
