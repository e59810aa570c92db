"""The shapes dataset: rendered scenes of solids and handwriting with exact labels, boxes, masks, depth and normals."""

from tasks.synthetic.render import RENDERER_VERSION, Factors, Scene, render
from tasks.synthetic.scene_layout import (
    COUNT_NAMES,
    DIGIT_NAMES,
    HUE_NAMES,
    SOLID_NAMES,
    TEXTURE_NAMES,
    Factor,
    SceneKind,
    SceneParameters,
    label_names,
)

__all__ = [
    "COUNT_NAMES",
    "DIGIT_NAMES",
    "HUE_NAMES",
    "RENDERER_VERSION",
    "SOLID_NAMES",
    "TEXTURE_NAMES",
    "Factor",
    "Factors",
    "Scene",
    "SceneKind",
    "SceneParameters",
    "label_names",
    "render",
]
