from __future__ import annotations

import pytest

from ssl_console.system.safe_text import align, align_within, last_state, printable, shorten, width


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1bcreset", "reset"),
        ("bell\x07\x08\x00", "bell"),
        ("line\r\n", "line"),
        ("a\tb", "a b"),
        ("\u202eevil\u2066", "evil"),
        ("half \x1b[3", "half 3"),
        ("\x1b]0;never ends", ""),
        ("ünïcode 数", "ünïcode 数"),
        ("\ud800lone", "lone"),
    ],
)
def test_only_characters_that_draw_are_left(hostile: str, harmless: str) -> None:
    assert printable(hostile) == harmless


def test_nothing_that_controls_a_terminal_is_left_of_any_character() -> None:
    drawn = printable("".join(map(chr, range(0x20, 0x110000))))
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in drawn)


def test_a_progress_bar_shows_its_last_state() -> None:
    assert last_state("10%\r50%\r100%") == "100%"
    assert last_state("text\r") == "text"


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert (width("数据"), width("e\u0301"), width("abc")) == (4, 1, 3)


def test_columns_stand_below_one_another_whatever_their_width() -> None:
    assert align([["数", "1"], ["abcd", "10"]], right=frozenset({1})) == ["数     1", "abcd  10"]


@pytest.mark.parametrize(("text", "columns", "shown"), [("abcdef", 4, "abc…"), ("数据集", 4, "数…"), ("abc", 3, "abc")])
def test_a_long_text_is_cut_with_an_ellipsis(text: str, columns: int, shown: str) -> None:
    assert shorten(text, columns) == shown


def test_a_table_that_is_too_wide_is_cut_into_blocks_that_each_begin_with_the_first_column() -> None:
    rows = [["name", "a", "bb", "ccc"], ["x", "1", "2", "3"]]
    assert align_within(rows, 10) == ["name  a", "x     1", "", "name  bb", "x      2", "", "name  ccc", "x       3"]
    assert align_within(rows, 11) == ["name  a  bb", "x     1   2", "", "name  ccc", "x       3"]
    assert align_within(rows, 80) == ["name  a  bb  ccc", "x     1   2    3"]


def test_a_column_wider_than_the_terminal_still_gets_its_block() -> None:
    assert align_within([["name", "a" * 30], ["x", "1"]], 10)[0] == "name  " + "a" * 30
