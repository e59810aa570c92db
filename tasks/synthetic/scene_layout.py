"""Random scene layouts and their parameters: room, light and solids, in the camera's frame (x right, y down, z into the
scene).
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.synthetic.solids import SOLIDS, Floats

Span = tuple[float, float]
"""Lower and upper bound of a uniform distribution."""
_HUE_TURNS = (0.0, 0.085, 0.2, 0.36, 0.49, 0.6, 0.75, 0.89)
"""Positions of the named hues on the colour circle: spaced by eye, not evenly."""


@dataclass(frozen=True)
class SceneParameters:
    """Ranges that scenes are drawn from. Lengths are in scene units (a solid of scale 1 is about 2 wide).

    Changing any of them changes every image and requires a new `RENDERER_VERSION`.
    """

    half_view: float = 0.5
    """Tangent of half the field of view."""
    gaze_distance: Span = (4.6, 6.0)
    """From the camera to the floor point in the middle of the image."""
    pitch: Span = (0.25, 0.6)
    """Camera tilt below the horizon, in radians."""
    wall_distance: Span = (1.5, 4.0)
    """From the gazed-at point to the wall behind it."""
    wall_turn: float = 0.6
    """Maximum rotation of the wall against the line of sight, in radians."""
    large_scale: Span = (0.9, 1.5)
    """Solid size in one-object scenes."""
    small_scale: Span = (0.5, 0.8)
    """Solid size in scenes of several."""
    stretch: Span = (0.85, 1.15)
    """Independent scaling of a solid's own three axes."""
    lean: float = 0.3
    """Maximum tilt of a solid from the vertical, in radians."""
    sideways: float = 0.8
    """Maximum distance of a small solid from the image's centre column, as a fraction of half the image."""
    largest_count: int = 4
    clearance: float = 0.8
    """Minimum distance on the floor between two solids, as a fraction of the sum of their radii."""
    separation: float = 0.65
    """Minimum distance on screen between two solids, as a fraction of the sum of their radii."""
    placement_tries: int = 60
    visible_pixels: float = 0.004
    """Fraction of the image below which a solid counts as hidden."""
    saturation: Span = (0.45, 0.9)
    brightness: Span = (0.55, 1.0)
    hue_jitter: float = 0.03
    """Maximum deviation from the named hue, in turns of the colour circle."""
    contrast: Span = (0.4, 0.65)
    """Relative darkening of the dark parts of a texture."""
    room_saturation: Span = (0.05, 0.6)
    room_brightness: Span = (0.3, 0.95)
    ambient: Span = (0.35, 0.6)
    light_tint: float = 0.12
    gloss: Span = (0.0, 0.35)
    shadow: Span = (0.2, 0.6)
    noise: Span = (0.01, 0.04)
    """Standard deviation of the pixel noise; 1 is white."""
    digit_size: Span = (0.45, 0.7)
    """Side of the handwriting as a fraction of the image."""
    digit_turn: float = 0.25
    digit_contrast: Span = (0.3, 0.65)


class SceneKind(StrEnum):
    """Content of a scene: one large solid, several small ones, or handwriting over a scene."""

    OBJECT = "object"
    SCENE = "scene"
    DIGIT = "digit"


class Factor(StrEnum):
    """A property of a scene that may be the label of a task."""

    SOLID = "solid"
    HUE = "hue"
    TEXTURE = "texture"
    COUNT = "count"
    DIGIT = "digit"


SOLID_NAMES = ("sphere", "cube", "cylinder", "cone", "pyramid", "prism", "octahedron", "ring")
HUE_NAMES = ("red", "orange", "lime", "green", "cyan", "azure", "violet", "pink")
TEXTURE_NAMES = ("plain", "stripes", "checks", "dots", "marble")
COUNT_NAMES = ("1", "2", "3", "4")
DIGIT_NAMES = tuple(str(digit) for digit in range(10))

_NAMES = {
    Factor.SOLID: SOLID_NAMES,
    Factor.HUE: HUE_NAMES,
    Factor.TEXTURE: TEXTURE_NAMES,
    Factor.COUNT: COUNT_NAMES,
    Factor.DIGIT: DIGIT_NAMES,
}


def label_names(factor: Factor | str) -> tuple[str, ...]:
    """Return the class names of one factor, in label order.

    Raises:
        ValueError: the factor is none of `Factor`.
    """
    return _NAMES[Factor(factor)]


@dataclass(frozen=True, eq=False)
class Room:
    """A floor and a wall, each a unit normal [3] towards the camera and a distance from it; colours are RGB 0..1."""

    up: Floats
    height: float
    wall_normal: Floats
    wall_distance: float
    floor_colour: Floats
    wall_colour: Floats
    tile: float
    """Floor tiles per scene unit."""
    tile_contrast: float


@dataclass(frozen=True, eq=False)
class Light:
    """`direction` [3] is a unit vector towards the light; `tint` [3] its colour."""

    direction: Floats
    tint: Floats
    ambient: float
    shadow: float


@dataclass(frozen=True, eq=False)
class Body:
    """A placed solid: point q of its own frame is at `centre + linear @ q`."""

    solid: int
    hue: int
    texture: int
    centre: Floats
    linear: Floats
    inverse: Floats
    reach: float
    """Radius of a bounding ball about the centre."""
    foot: Floats
    """The point of the floor below the centre."""
    colour: Floats
    contrast: float
    phase: Floats
    gloss: float


@dataclass(frozen=True, eq=False)
class SceneLayout:
    """Everything that determines a scene except the noise."""

    room: Room
    light: Light
    bodies: tuple[Body, ...]


@dataclass(frozen=True, eq=False)
class _Gaze:
    """Camera direction: `target` is the floor point in the middle of the image, the others are unit vectors."""

    up: Floats
    ahead: Floats
    target: Floats


_RIGHT = np.array([1, 0, 0], np.float32)


def _draw(rng: np.random.Generator, span: Span) -> float:
    return float(rng.uniform(*span))


def _colour(rng: np.random.Generator, turn: float, saturation: Span, brightness: Span) -> Floats:
    rgb = colorsys.hsv_to_rgb(turn % 1.0, _draw(rng, saturation), _draw(rng, brightness))
    return np.array(rgb, np.float32)


def _gaze(rng: np.random.Generator, p: SceneParameters) -> _Gaze:
    pitch, distance = _draw(rng, p.pitch), _draw(rng, p.gaze_distance)
    up = np.array([0, -math.cos(pitch), -math.sin(pitch)], np.float32)
    ahead = np.array([0, -math.sin(pitch), math.cos(pitch)], np.float32)
    return _Gaze(up, ahead, np.array([0, 0, distance], np.float32))


def _room(rng: np.random.Generator, gaze: _Gaze, p: SceneParameters) -> Room:
    turn = rng.uniform(-p.wall_turn, p.wall_turn)
    normal = (-math.cos(turn) * gaze.ahead + math.sin(turn) * _RIGHT).astype(np.float32)
    anchor = gaze.target + _draw(rng, p.wall_distance) * gaze.ahead
    return Room(
        up=gaze.up,
        height=float(-gaze.up @ gaze.target),
        wall_normal=normal,
        wall_distance=float(-normal @ anchor),
        floor_colour=_colour(rng, rng.random(), p.room_saturation, p.room_brightness),
        wall_colour=_colour(rng, rng.random(), p.room_saturation, p.room_brightness),
        tile=float(rng.uniform(0.5, 1.6)),
        tile_contrast=float(rng.uniform(0.0, 0.45)),
    )


def _light(rng: np.random.Generator, gaze: _Gaze, p: SceneParameters) -> Light:
    """Sunlight from above and from the camera's side."""
    direction = rng.uniform(0.5, 1.2) * gaze.up - rng.uniform(0.2, 1.0) * gaze.ahead + rng.uniform(-1, 1) * _RIGHT
    return Light(
        direction=(direction / np.linalg.norm(direction)).astype(np.float32),
        tint=rng.uniform(1 - p.light_tint, 1 + p.light_tint, 3).astype(np.float32),
        ambient=_draw(rng, p.ambient),
        shadow=_draw(rng, p.shadow),
    )


def _turn(axis: int, angle: float) -> Floats:
    """Rotation about one axis of a solid's own frame."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3, dtype=np.float32)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def _body(rng: np.random.Generator, gaze: _Gaze, foot: Floats, scale: float, p: SceneParameters) -> Body:
    solid, hue = int(rng.integers(len(SOLID_NAMES))), int(rng.integers(len(HUE_NAMES)))
    stretch = (scale * rng.uniform(*p.stretch, 3)).astype(np.float32)
    # from the solid's frame (y up) to the camera's: tilt, then rotation about the vertical
    upright = np.stack([_RIGHT, gaze.up, gaze.ahead], axis=1)
    lean = _turn(0, rng.uniform(-p.lean, p.lean)) @ _turn(2, rng.uniform(-p.lean, p.lean))
    orientation = np.asarray(upright @ _turn(1, rng.uniform(0, 2 * math.pi)) @ lean, np.float32)
    turn = _HUE_TURNS[hue] + rng.uniform(-p.hue_jitter, p.hue_jitter)
    return Body(
        solid=solid,
        hue=hue,
        texture=int(rng.integers(len(TEXTURE_NAMES))),
        centre=foot + SOLIDS[solid].bottom * stretch[1] * gaze.up,
        linear=orientation * stretch,
        inverse=orientation.T / stretch[:, None],
        reach=float(stretch.max()),
        foot=foot,
        colour=_colour(rng, turn, p.saturation, p.brightness),
        contrast=_draw(rng, p.contrast),
        phase=rng.uniform(0, 2 * math.pi, 3).astype(np.float32),
        gloss=_draw(rng, p.gloss),
    )


def _apart(foot: Floats, scale: float, bodies: list[Body], p: SceneParameters) -> bool:
    """Whether a solid at this position is separate from the others, on the floor and on screen."""
    for other in bodies:
        gap = np.linalg.norm(foot - other.foot)
        shift = np.linalg.norm(foot[:2] / foot[2] - other.foot[:2] / other.foot[2])
        radii = scale / foot[2] + other.reach / other.foot[2]
        if gap < p.clearance * (scale + other.reach) or shift < p.separation * radii:
            return False
    return True


def _several(rng: np.random.Generator, gaze: _Gaze, count: int, p: SceneParameters) -> tuple[Body, ...]:
    bodies: list[Body] = []
    for _ in range(count):
        scale = _draw(rng, p.small_scale)
        for _ in range(p.placement_tries):
            # a visible floor point for a solid of this size
            away = rng.uniform(-1.3, 1.7)
            depth = gaze.target[2] + away * gaze.ahead[2]
            sideways = rng.uniform(-1, 1) * p.sideways * p.half_view * depth
            foot = np.asarray(gaze.target + sideways * _RIGHT + (away - 0.3 * scale) * gaze.ahead, np.float32)
            if _apart(foot, scale, bodies, p):
                bodies.append(_body(rng, gaze, foot, scale, p))
                break
    return tuple(bodies)


def draw_layout(rng: np.random.Generator, kind: SceneKind, parameters: SceneParameters) -> SceneLayout:
    """Draw one scene: a large solid, 1 to `largest_count` small ones, or 0 to 2 small ones for a digit to cover."""
    gaze = _gaze(rng, parameters)
    room, light = _room(rng, gaze, parameters), _light(rng, gaze, parameters)
    if kind is SceneKind.OBJECT:
        scale = _draw(rng, parameters.large_scale)
        slack = max(0.1, 1.9 - scale)
        sideways, away = rng.uniform(-0.7, 0.7) * slack, rng.uniform(-0.8, 0.5) * slack
        foot = gaze.target + sideways * _RIGHT + (away - 0.2 * scale) * gaze.ahead
        return SceneLayout(room, light, (_body(rng, gaze, foot.astype(np.float32), scale, parameters),))
    low, high = (1, parameters.largest_count) if kind is SceneKind.SCENE else (0, 2)
    return SceneLayout(room, light, _several(rng, gaze, int(rng.integers(low, high + 1)), parameters))
