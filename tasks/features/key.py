"""Key of stored features: everything they depend on, and its digest. Needs neither torch nor numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backbones.catalog.layer_info import LayerRequest
from backbones.io.file_digests import canonical

FORMAT = 1
"""Increased when entries of older versions must not be read."""

Decoder = Literal["cpu", "nvjpeg"]
"""Engine that decodes JPEG files: the threads of the CPU, or the GPU."""
NVJPEG_CONDITION = {"decoder": "nvjpeg"}
"""Part of the key of features from images that nvJPEG has decoded."""
Part = None | bool | int | float | str


@dataclass(frozen=True)
class FeatureKey:
    """Complete list of what changes features; batch size, device, host and path are not part of it.

    `backbone` is `backbones.catalog.card.identity(...)` (weights digest, architecture, pooling, preprocessing),
    `images` the digest of one source split's images (content, order, and how they are read), `precision` the arithmetic
    of the encoder. `conditions` are further settings that change features and differ from their defaults (layers,
    engine); defaults are omitted, so that earlier keys stay valid.
    """

    backbone: Mapping[str, Any]
    images: str
    precision: str = "float32"
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Part]:
        """All components under dotted names, e.g. `backbone.preprocessing.size`."""
        whole = {"backbone": self.backbone, "images": self.images, "precision": self.precision, "format": FORMAT}
        return flattened({**self.conditions, **whole})

    @property
    def digest(self) -> str:
        """Name of the entry: 40 hexadecimal digits."""
        return digest_parts(self.parts)


def digest_parts(parts: Mapping[str, Part]) -> str:
    """Name of the entry with these components."""
    return hashlib.sha256(canonical(dict(parts))).hexdigest()[:40]


def layer_request_of(parts: Mapping[str, Part]) -> LayerRequest | None:
    """Layer-wise features described by these components; None for pooled features."""
    if "layers.blocks" not in parts:
        return None
    return LayerRequest.model_validate({"blocks": parts["layers.blocks"], "storage": parts["layers.storage"]})


def flattened(value: object, prefix: str = "") -> dict[str, Part]:
    """Flatten nested mappings and sequences to dotted names. Raises TypeError for values that are not JSON."""
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
