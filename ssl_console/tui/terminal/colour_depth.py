"""Approximation of colours on terminals with few of them, contrast, and legible text colours. Pure.

Contrast is that of the Web Content Accessibility Guidelines 2.1: text requires at least 4.5 to 1.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from math import dist

from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color

from ssl_console.workspace.pictures import CUBE

LEAST_CONTRAST = 4.5
MID_LUMINANCE = 0.18
"""White and black have the same contrast on a colour of this luminance."""
STEPS = 20


class ColourDepth(StrEnum):
    """Number of colours of a terminal."""

    SIXTEEN = "standard"
    MANY = "256"
    TRUE = "truecolor"

    @classmethod
    def of(cls, color_system: str | None) -> ColourDepth:
        """The depth of a rich console's `color_system`; true colour if unknown."""
        return cls.SIXTEEN if color_system == "windows" else cls(color_system or cls.TRUE)


def nearest(colour: RichColor, depth: ColourDepth) -> RichColor:
    """The nearest colour of the terminal. Rich maps greys, and colours close to grey, to darker ones.

    Of 256 colours, 16 to 231 are a cube and 232 to 255 the greys 8, 18, ... 238; the first 16 are the terminal's own.
    """
    if depth is ColourDepth.TRUE or colour.triplet is None:
        return colour
    if depth is ColourDepth.SIXTEEN:
        return colour.downgrade(ColorSystem.STANDARD)
    return RichColor.from_ansi(_nearest_of_256(*colour.triplet))


@lru_cache(maxsize=4096)
def _nearest_of_256(red: int, green: int, blue: int) -> int:
    wanted = red, green, blue
    indices = [min(range(6), key=lambda index: abs(CUBE[index] - channel)) for channel in wanted]
    step = min(23, max(0, round((sum(wanted) / 3 - 8) / 10)))
    in_cube = tuple(CUBE[index] for index in indices)
    grey = (8 + 10 * step,) * 3
    if dist(in_cube, wanted) <= dist(grey, wanted):
        return 16 + 36 * indices[0] + 6 * indices[1] + indices[2]
    return 232 + step


@lru_cache(maxsize=4096)
def displayed(colour: str, depth: ColourDepth) -> Color:
    """The colour that the terminal displays for this one."""
    return Color.from_rich_color(nearest(Color.parse(colour).rich_color, depth))


def luminance(colour: Color) -> float:
    """Relative luminance, 0 (black) to 1 (white)."""
    red, green, blue = (_linear(channel / 255) for channel in colour.rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(share: float) -> float:
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def contrast(ink: Color, ground: Color) -> float:
    """Contrast ratio, 1 to 21."""
    darker, lighter = sorted((luminance(ink), luminance(ground)))
    return (lighter + 0.05) / (darker + 0.05)


@lru_cache(maxsize=4096)
def legible(ink: str, ground: str, depth: ColourDepth) -> str:
    """The colour nearest to `ink`, towards white, or towards black on a light background, with sufficient contrast."""
    behind = displayed(ground, depth)
    start, end = Color.parse(ink), Color.parse("#ffffff" if luminance(behind) < MID_LUMINANCE else "#000000")
    for step in range(STEPS + 1):
        between = start.blend(end, step / STEPS).hex
        if contrast(displayed(between, depth), behind) >= LEAST_CONTRAST:
            return between
    return end.hex
