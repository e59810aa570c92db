from __future__ import annotations

from itertools import pairwise, product

import pytest
from rich.color import Color as RichColor
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from ssl_console.tui.app import THEMES
from ssl_console.tui.style.glyphs import ASCII, UNICODE, Glyphs, bar, choose
from ssl_console.tui.style.palette import DARK, LEVELS, LIGHT, Palette, Under, level, sign
from ssl_console.tui.style.text import Cell, Tone
from ssl_console.tui.terminal.colour_depth import LEAST_CONTRAST, ColourDepth, contrast, displayed, nearest

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


def theme_named(name: str) -> Theme:
    return {theme.name: theme for theme in (DARK, LIGHT)}.get(name) or BUILTIN_THEMES[name]


DEPTHS = (ColourDepth.MANY, ColourDepth.TRUE)


@pytest.mark.parametrize("deficiency", [None, *CONE_MATRICES])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", THEMES)
def test_better_is_further_from_the_page_for_everyone(name: str, depth: ColourDepth, deficiency: str | None) -> None:
    matrix = CONE_MATRICES[deficiency] if deficiency else None
    palette = Palette.of(theme_named(name), depth)
    heats = [palette.heat(number) for number in range(LEVELS)]
    lights = [_lightness(displayed(heat or "", depth), matrix) for heat in heats]
    assert all((a < b) is palette.dark for a, b in pairwise(lights))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", THEMES)
def test_every_cell_is_legible_in_every_theme_and_colour_depth(name: str, depth: ColourDepth) -> None:
    palette = Palette.of(theme_named(name), depth)
    unders: tuple[Under, ...] = ("", "row", "cell")
    for tone, heat, picked, under in product(Tone, (None, *range(LEVELS)), (False, True), unders):
        style = palette.cell_style(Cell("1", tone, heat=heat, picked=picked), under)
        assert style.color is not None
        ground = style.bgcolor.name if style.bgcolor is not None else palette.background
        seen = contrast(displayed(style.color.name, depth), displayed(ground, depth))
        assert seen >= LEAST_CONTRAST, (tone, heat, picked, under, style)


def test_each_of_the_256_colours_is_the_nearest_to_itself() -> None:
    for number in range(16, 256):
        triplet = RichColor.from_ansi(number).get_truecolor()
        shown = nearest(RichColor.from_triplet(triplet), ColourDepth.MANY)
        assert shown.get_truecolor() == triplet


def test_sixteen_colours_carry_no_meaning_that_has_no_sign() -> None:
    for theme in (DARK, LIGHT):
        palette = Palette.of(theme, ColourDepth.SIXTEEN)
        assert [palette.heat(number) for number in range(LEVELS)] == [None] * LEVELS
        styles = {palette.cell_style(Cell("1", heat=number)) for number in range(LEVELS - 1)}
        assert len(styles) == 1, "levels differ by their sign alone"
        assert palette.cell_style(Cell("1", heat=LEVELS - 1)).bold, "the best stands out"


@pytest.mark.parametrize("step", ASCII.steps)
def test_ascii_signs_of_levels_cannot_be_read_as_digits(step: str) -> None:
    assert not step.isalnum()


def test_the_best_is_hottest_whichever_way_is_better() -> None:
    assert [level(value, 0, 10) for value in (0, 5, 10)] == [0, LEVELS // 2, LEVELS - 1]
    assert level(0, 0, 10, higher_is_better=False) == LEVELS - 1
    assert level(5, 5, 5) is None


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_every_level_has_a_sign_of_its_own(glyphs: Glyphs) -> None:
    assert len({sign(number, glyphs.steps) for number in range(LEVELS)}) == LEVELS
    assert sign(None, glyphs.steps) == " "


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("share", [-1.0, 0.0, 0.33, 0.5, 1.0, 2.0])
def test_a_bar_has_its_width_whatever_its_share(glyphs: Glyphs, share: float) -> None:
    assert len(bar(share, 10, glyphs)) == 10


def test_plain_ascii_has_no_other_sign() -> None:
    signs = [value for value in vars(ASCII).values() if isinstance(value, str)]
    assert all(text.isascii() for text in (*signs, *ASCII.bar, *ASCII.steps, *ASCII.markers))
    assert choose(ascii_only=True) is ASCII
