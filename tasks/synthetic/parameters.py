"""Parameters of rendered scenes."""

from dataclasses import dataclass
from enum import StrEnum

Span = tuple[float, float]
"""Lower and upper bound of a uniform distribution."""


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
