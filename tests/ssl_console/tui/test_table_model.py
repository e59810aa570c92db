from __future__ import annotations

import pytest

from ssl_console.tui.widgets.table_model import Geometry

WIDTHS = [10, 6, 6, 8, 6, 12]


def test_fixed_columns_stay_and_the_others_begin_at_a_column() -> None:
    geometry = Geometry.of(WIDTHS, fixed=1)
    visible_columns = geometry.visible_columns(scroll=8, width=40)
    assert [column.number for column in visible_columns] == [0, 2, 3, 4, 5]
    assert visible_columns[1].x == 11
    assert visible_columns[-1].width < WIDTHS[5]


def test_a_number_is_drawn_whole_or_not_at_all_but_text_may_be_cut() -> None:
    numbers = Geometry.of([5, 5, 5], 1, [False, True, True]).visible_columns(0, 15)
    text = Geometry.of([5, 5, 5], 1, [False, True, False]).visible_columns(0, 15)
    assert [column.number for column in numbers] == [0, 1]
    assert (text[-1].number, text[-1].width) == (2, 3)


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("scroll", [0, 7, 14, 23, 30])
def test_scrolling_to_a_column_shows_it_whole(number: int, scroll: int) -> None:
    geometry = Geometry.of(WIDTHS, fixed=1)
    after = geometry.scroll_to_show(number, scroll, 30)
    shown = {column.number: column.width for column in geometry.visible_columns(after, 30)}
    assert shown[number] == WIDTHS[number]


def test_a_click_finds_the_column_that_is_drawn_there() -> None:
    geometry = Geometry.of(WIDTHS, fixed=1)
    for column in geometry.visible_columns(7, 40):
        assert geometry.column_at(column.x, 7, 40) == column.number
