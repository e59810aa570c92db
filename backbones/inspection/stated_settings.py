"""Settings in a configuration of transformers that change the function and differ from timm's architecture.

Tensors do not show them; without this check such a network would be loaded with another function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backbones.catalog.card import Conversion
from backbones.checkpoints.key_mapping import Shape

ACTIVATIONS: Mapping[Conversion, str] = {
    "hf-swin": "gelu",
    "hf-hiera": "gelu",
    "hf-convnext": "gelu",
    "hf-dinov3-convnext": "gelu",
    "hf-resnet": "relu",
    "hf-aimv2": "silu",
}
"""Activations of the architectures whose activation no argument changes."""
ROTATION = 100.0
"""Base of the rotary positions of DINOv3."""


def contradictions(config: Mapping[str, Any], conversion: Conversion, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Settings that the architecture does not support, each with the supported value."""
    has = dict(ACTIVATIONS)
    has["hf-dinov3"] = "silu" if "blocks.0.mlp.fc1_g.weight" in shapes else "gelu"
    stated = config.get("hidden_act")
    if stated is not None and conversion in has and stated != has[conversion]:
        yield f"hidden_act={stated} (timm's has {has[conversion]})"
    rope = config.get("rope_parameters")
    base = rope.get("rope_theta") if isinstance(rope, Mapping) else config.get("rope_theta")
    if conversion == "hf-dinov3" and base not in (None, ROTATION):
        yield f"rope_theta={base} (timm's has {ROTATION:g})"
