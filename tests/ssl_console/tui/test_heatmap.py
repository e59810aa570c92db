from __future__ import annotations

from itertools import pairwise

import pytest
from rich.color import ColorSystem
from textual.color import Color
from textual.theme import Theme

from ssl_console.tui.style.glyphs import ASCII, UNICODE, Glyphs, bar, choose
from ssl_console.tui.style.palette import FEW_ON_DARK, FEW_ON_LIGHT, LEVELS, RAMP, Palette, level, sign
from ssl_console.tui.style.themes import DARK, LIGHT

CONE_MATRICES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
"""Colours as they are seen with each deficiency (Machado, Oliveira, Fernandes 2009, severity 1), on linear light."""


def _linear(channel: int) -> float:
    share = channel / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _lightness(colour: Color, matrix: tuple[tuple[float, ...], ...] | None) -> float:
    rgb = [_linear(channel) for channel in colour.rgb]
    seen = [sum(a * b for a, b in zip(row, rgb, strict=True)) for row in matrix] if matrix else rgb
    return 0.2126 * seen[0] + 0.7152 * seen[1] + 0.0722 * seen[2]


@pytest.mark.parametrize("deficiency", [None, *CONE_MATRICES])
def test_hotter_is_lighter_for_everyone(deficiency: str | None) -> None:
    matrix = CONE_MATRICES[deficiency] if deficiency else None
    lights = [_lightness(Color.parse(colour), matrix) for colour in RAMP]
    assert all(a < b for a, b in pairwise(lights))


@pytest.mark.parametrize("deficiency", [None, *CONE_MATRICES])
@pytest.mark.parametrize("colours", [FEW_ON_DARK, FEW_ON_LIGHT], ids=["dark", "light"])
def test_where_there_are_256_colours_what_is_shown_is_no_darker_for_being_hotter(
    colours: tuple[str, ...], deficiency: str | None
) -> None:
    matrix = CONE_MATRICES[deficiency] if deficiency else None
    shown = [Color.parse(colour).rich_color.downgrade(ColorSystem.EIGHT_BIT) for colour in colours]
    lights = [_lightness(Color.from_rich_color(colour), matrix) for colour in shown]
    assert all(a <= b for a, b in pairwise(lights))
    assert len(set(lights)) >= LEVELS - 1


def test_the_best_is_hottest_whichever_way_is_better() -> None:
    assert [level(value, 0, 10) for value in (0, 5, 10)] == [0, LEVELS // 2, LEVELS - 1]
    assert level(0, 0, 10, higher_is_better=False) == LEVELS - 1
    assert level(5, 5, 5) is None


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_every_level_has_a_sign_of_its_own(glyphs: Glyphs) -> None:
    assert len({sign(number, glyphs.steps) for number in range(LEVELS)}) == LEVELS
    assert sign(None, glyphs.steps) == " "


@pytest.mark.parametrize("few", [False, True], ids=["many colours", "256 colours"])
@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_text_stays_legible_on_every_heat(theme: Theme, few: bool) -> None:
    palette = Palette.of(theme, few_colours=few)
    text = Color.parse(palette.foreground)
    for number in range(LEVELS):
        colour = palette.heat_style(number).bgcolor
        assert colour is not None
        assert abs(Color.from_rich_color(colour).get_contrast_text().brightness - text.brightness) < 0.35


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("share", [-1.0, 0.0, 0.33, 0.5, 1.0, 2.0])
def test_a_bar_has_its_width_whatever_its_share(glyphs: Glyphs, share: float) -> None:
    assert len(bar(share, 10, glyphs)) == 10


def test_plain_ascii_has_no_other_sign() -> None:
    signs = [value for value in vars(ASCII).values() if isinstance(value, str)]
    assert all(text.isascii() for text in (*signs, *ASCII.bar, *ASCII.steps, *ASCII.markers))
    assert choose(ascii_only=True) is ASCII
