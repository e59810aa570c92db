"""The words for what a rendered scene shows: solids, hues, textures, counts and digits, in label order."""

from enum import StrEnum


class SceneKind(StrEnum):
    """What a scene is made of: one large solid, several small ones, or handwriting over a scene."""

    OBJECT = "object"
    SCENE = "scene"
    DIGIT = "digit"


class Factor(StrEnum):
    """A property of a scene that a task may ask for."""

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
