"""From what the rays hit to light: diffuse, glossy and a soft shadow where a solid stands."""

import numpy as np

from tasks.synthetic.ray_casting import Traced
from tasks.synthetic.scene_layout import SceneLayout
from tasks.synthetic.solids import Floats


def _standing_shadows(layout: SceneLayout, traced: Traced) -> Floats:
    """Share of the light that reaches the floor [h, w]: a dark spot about each foot, moved away from the light."""
    share = np.ones(traced.depth.shape, np.float32)
    points = traced.depth[:, :, None] * traced.rays
    flat = layout.light.direction - (layout.light.direction @ layout.room.up) * layout.room.up
    for body in layout.bodies:
        apart = points - (body.foot - 0.5 * body.reach * flat)
        spot = np.exp((apart * apart).sum(axis=2) * np.float32(-1.6 / body.reach**2))
        share *= 1 - np.float32(layout.light.shadow) * spot
    return np.where(traced.floor & (traced.owner == 0), share, 1)


def _highlights(layout: SceneLayout, traced: Traced) -> Floats:
    """Blinn-Phong highlight strength [h, w]."""
    to_camera = -traced.rays / np.linalg.norm(traced.rays, axis=2, keepdims=True)
    half = to_camera + layout.light.direction
    cosine = (half * traced.normals).sum(axis=2) / np.linalg.norm(half, axis=2)
    return np.asarray(traced.gloss * np.maximum(cosine, 0) ** 24, np.float32)


def shade(layout: SceneLayout, traced: Traced) -> Floats:
    """Light a traced layout; RGB [h, w, 3], about 0..1 and not clipped."""
    light = layout.light
    diffuse = np.maximum(traced.normals @ light.direction, 0) * np.float32(1 - light.ambient) + np.float32(
        light.ambient
    )
    if layout.bodies:
        diffuse = diffuse * _standing_shadows(layout, traced)
    image = traced.albedo * (diffuse[:, :, None] * light.tint)
    if layout.bodies:
        image = image + _highlights(layout, traced)[:, :, None]
    return np.asarray(image, np.float32)
