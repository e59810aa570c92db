"""The shapes data set: rendered scenes of solids and handwriting with exact labels, boxes, masks, depth and normals."""

from tasks.shapes.labels import (
    COUNT_NAMES,
    DIGIT_NAMES,
    HUE_NAMES,
    SOLID_NAMES,
    TEXTURE_NAMES,
    Factor,
    SceneKind,
    label_names,
)
from tasks.shapes.parameters import Parameters
from tasks.shapes.rendering import RENDERER_VERSION, Factors, Scene, render

__all__ = [
    "COUNT_NAMES",
    "DIGIT_NAMES",
    "HUE_NAMES",
    "RENDERER_VERSION",
    "SOLID_NAMES",
    "TEXTURE_NAMES",
    "Factor",
    "Factors",
    "Parameters",
    "Scene",
    "SceneKind",
    "label_names",
    "render",
]
