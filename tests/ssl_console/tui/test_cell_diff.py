"""The terminal shows Textual's rendering with fewer bytes, and unchanged content writes nothing."""

from __future__ import annotations

import io

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from ssl_console.tui.terminal.cell_diff import ScreenBuffer, cells

WIDTH, HEIGHT = 24, 4
STYLES = [
    None,
    Style(color="#d0d0d0", bgcolor="#121212"),
    Style(color="#87afd7", bgcolor="#121212", bold=True),
    Style(color="#87afd7", bgcolor="#303030"),
    Style(bgcolor="#303030", underline=True),
]
TEXTS = st.text(st.sampled_from("ab .━▁✓漢字é"), max_size=8)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(STYLES)), max_size=6)
PICTURES = st.lists(LINES, min_size=HEIGHT, max_size=HEIGHT)


def console() -> Console:
    """One in which Textual's colours are not rounded: it takes other greys than the nearest."""
    return Console(file=io.StringIO(), color_system="truecolor", force_terminal=True, width=WIDTH)


def strip(line: list[tuple[str, Style | None]]) -> Strip:
    """A whole line of the screen."""
    return Strip([Segment(text, style) for text, style in line]).adjust_cell_length(WIDTH, STYLES[1])


def whole(picture: list[list[tuple[str, Style | None]]]) -> LayoutUpdate:
    """A picture drawn as a whole."""
    return LayoutUpdate([[strip(line)] for line in picture], Region(0, 0, WIDTH, HEIGHT))


def drawn(screen: pyte.Screen) -> list[list[tuple[object, ...]]]:
    """Content of a terminal; the foreground colour of blanks is ignored."""
    return [[seen(screen.buffer[y][x]) for x in range(screen.columns)] for y in range(screen.lines)]


def seen(cell: pyte.screens.Char) -> tuple[object, ...]:
    """A cell as displayed."""
    blank = cell.data == " " and not cell.underscore
    return (cell.data, cell.bg, cell.underscore, *(() if blank else (cell.fg, cell.bold)))


def show(screen: pyte.Screen, text: str) -> None:
    """Write to a terminal."""
    pyte.Stream(screen).feed(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(PICTURES, min_size=1, max_size=4))
def test_after_any_pictures_the_terminal_shows_what_drawing_the_last_one_alone_shows(
    pictures: list[list[list[tuple[str, Style | None]]]],
) -> None:
    screen_buffer, screen, alone = ScreenBuffer(), pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
    for picture in pictures:
        show(screen, screen_buffer.difference(whole(picture), console()))
    show(alone, ScreenBuffer().difference(whole(pictures[-1]), console()))
    assert drawn(screen) == drawn(alone)


@settings(max_examples=100, deadline=None)
@given(PICTURES)
def test_a_first_picture_is_drawn_as_textual_draws_it(picture: list[list[tuple[str, Style | None]]]) -> None:
    ours, theirs = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
    show(ours, ScreenBuffer().difference(whole(picture), console()))
    show(theirs, whole(picture).render_segments(console()).replace("\n", ""))
    assert drawn(ours) == drawn(theirs)


def test_the_same_picture_again_writes_nothing() -> None:
    screen_buffer, picture = ScreenBuffer(), [[("some words", STYLES[1])]] * HEIGHT
    assert screen_buffer.difference(whole(picture), console())
    assert screen_buffer.difference(whole(picture), console()) == ""


def test_a_changed_number_costs_a_few_bytes_wherever_it_stands() -> None:
    screen_buffer = ScreenBuffer()
    screen_buffer.difference(whole([[("encoding 1,234 images", STYLES[1])]] * HEIGHT), console())
    written = screen_buffer.difference(whole([[("encoding 1,235 images", STYLES[1])]] * HEIGHT), console())
    assert len(written) <= HEIGHT * 35


def test_after_something_else_wrote_to_the_terminal_all_is_written_again() -> None:
    screen_buffer, picture = ScreenBuffer(), [[("some words", STYLES[1])]] * HEIGHT
    first = screen_buffer.difference(whole(picture), console())
    screen_buffer.forget()
    assert screen_buffer.difference(whole(picture), console()) == first


def test_of_a_partial_update_only_the_pieces_it_touches_are_looked_at() -> None:
    screen_buffer = ScreenBuffer()
    left, right = Strip([Segment("left")], 4), Strip([Segment("right")], 5)
    update = ChopsUpdate([{0: left, 4: right}], [(0, 5, 7)], [[4, 9]])
    assert screen_buffer.difference(update, console()) == "\x1b[1;5Hright"


def test_a_span_behind_a_wide_character_stays_where_it_is() -> None:
    screen_buffer, screen = ScreenBuffer(), pyte.Screen(WIDTH, HEIGHT)
    for end in "12":
        show(screen, screen_buffer.difference(whole([[("漢字 ", STYLES[1]), (end, STYLES[2])]] * HEIGHT), console()))
    assert screen.display[0].rstrip() == "漢字 2"


@pytest.mark.parametrize(("text", "count"), [("abc", 3), ("漢", 2), ("é", 1), ("━▁", 2), ("👩\u200d👩\u200d👧x", 3)])
def test_cells_are_as_many_as_the_text_is_wide(text: str, count: int) -> None:
    assert len(cells(text)) == count
    assert "".join(cells(text)) == text
