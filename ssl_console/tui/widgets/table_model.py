"""Content of a table: columns with their header, row keys in order, and a function that makes a cell when drawn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ssl_console.tui.style.text import EMPTY_CELL, Align, Cell, fit, fit_middle


@dataclass(frozen=True)
class Column:
    """One column of fixed width."""

    key: str
    label: str
    width: int
    align: Align = "left"
    group: str = ""
    """A first header line, shared by neighbouring columns."""
    sort: str = ""
    """Sign after the label if the table is sorted by this column."""
    marked: bool = False
    """Whether the whole column is ticked."""
    name: bool = False
    """Whether it contains names: long ones are cut in the middle."""

    def fitted(self, text: str, width: int, ellipsis: str) -> str:
        """A cell's text on `width` cells."""
        return fit_middle(text, width, ellipsis) if self.name else fit(text, width, self.align, ellipsis)


@dataclass(frozen=True)
class TableModel:
    """Content of a table. `cell` is called for visible cells only."""

    columns: tuple[Column, ...] = ()
    keys: Sequence[str] = ()
    cell: Callable[[str, Column], Cell] = lambda _key, _column: EMPTY_CELL
    fixed: int = 1
    """Number of columns that do not scroll horizontally."""
    reached: int | None = None
    """The first column that the cursor can reach; the first scrolling one by default."""

    @property
    def first_reached(self) -> int:
        """The first column that the cursor can reach."""
        return self.fixed if self.reached is None else self.reached

    @cached_property
    def index(self) -> dict[str, int]:
        """Each key's row number."""
        return {key: number for number, key in enumerate(self.keys)}

    @cached_property
    def column_index(self) -> dict[str, int]:
        """Each column's number."""
        return {column.key: number for number, column in enumerate(self.columns)}

    @cached_property
    def geometry(self) -> Geometry:
        """Positions of the columns."""
        whole = [column.align != "left" for column in self.columns]
        return Geometry.of([column.width for column in self.columns], self.fixed, whole)

    @property
    def header_lines(self) -> int:
        """One line of labels, and one of groups if there are any."""
        return 2 if any(column.group for column in self.columns) else 1


@dataclass(frozen=True)
class VisibleColumn:
    """A column as drawn: its number, its first cell on the line, and its width in cells."""

    number: int
    x: int
    width: int


@dataclass(frozen=True)
class Geometry:
    """Positions of fixed and scrolling columns, one cell between neighbours."""

    widths: Sequence[int]
    fixed: int
    whole: Sequence[bool] = field(default=())
    """Columns that are omitted rather than truncated, because a truncated number misleads."""
    starts: Sequence[int] = field(default=())
    """Left edges of the scrolling columns, from 0."""
    fixed_width: int = 0
    total: int = 0

    @classmethod
    def of(cls, widths: Sequence[int], fixed: int, whole: Sequence[bool] = ()) -> Geometry:
        """Geometry of columns of these widths."""
        fixed_width = sum(width + 1 for width in widths[:fixed])
        starts, edge = [], 0
        for width in widths[fixed:]:
            starts.append(edge)
            edge += width + 1
        return cls(widths, fixed, whole or [False] * len(widths), starts, fixed_width, fixed_width + edge)

    def first_visible(self, scroll: int) -> int:
        """Index (among the scrolling columns) of the first one drawn: columns never begin in the middle."""
        return max(0, bisect_right(self.starts, scroll) - 1)

    def visible_columns(self, scroll: int, width: int) -> list[VisibleColumn]:
        """The columns on a line of `width` cells; the last may be truncated, if it contains text."""
        columns: list[VisibleColumn] = []
        x, first = 0, self.fixed + self.first_visible(scroll)
        for number in (*range(min(self.fixed, len(self.widths))), *range(first, len(self.widths))):
            shown = min(self.widths[number], width - x)
            if shown <= 0 or (self.whole[number] and shown < self.widths[number] and number > first):
                break
            columns.append(VisibleColumn(number, x, shown))
            x += self.widths[number] + 1
        return columns

    def scroll_to_show(self, number: int, scroll: int, width: int) -> int:
        """The scroll position nearest to `scroll` at which column `number` is whole, as far as it fits."""
        if number < self.fixed or not self.starts:
            return scroll
        left, room = self.starts[number - self.fixed], width - self.fixed_width
        scroll = self.starts[self.first_visible(scroll)]
        if left < scroll:
            return left
        right = left + self.widths[number]
        while scroll < left and right - scroll > room:
            scroll = self.starts[self.first_visible(scroll) + 1]
        return scroll

    def column_at(self, x: int, scroll: int, width: int) -> int | None:
        """Number of the column under cell `x`."""
        for column in self.visible_columns(scroll, width):
            if column.x <= x <= column.x + column.width:
                return column.number
        return None


@dataclass(frozen=True)
class FilterHits:
    """Rows and columns that match a filter."""

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


def next_of(hits: Sequence[str], keys: Sequence[str], current: str | None, step: int) -> str | None:
    """The match after `current` in the order of `keys`, or before it for -1, cyclically; None if there is none."""
    wanted = set(hits)
    places = [number for number, key in enumerate(keys) if key in wanted]
    if not places:
        return None
    here = next((number for number, key in enumerate(keys) if key == current), -1)
    if step > 0:
        return keys[next((place for place in places if place > here), places[0])]
    return keys[next((place for place in reversed(places) if place < here), places[-1])]


def label_text(text: str, sort: str, width: int, column: Column, ellipsis: str) -> str:
    """The label, truncated before the sort sign."""
    if not sort:
        return fit(text, width, column.align, ellipsis)
    body = text[: -len(sort)]
    room = width - len(sort)
    cut = fit(body, room, ellipsis=ellipsis) if len(body) > room else body
    return fit(cut + sort, width, column.align, ellipsis)


def spans_of_groups(visible: list[VisibleColumn], columns: tuple[Column, ...]) -> list[tuple[str, int, int]]:
    """Name, left and right edge of every group of neighbouring columns."""
    spans: list[tuple[str, int, int]] = []
    for column in visible:
        group = columns[column.number].group
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1], column.x + column.width)
        else:
            spans.append((group, column.x, column.x + column.width))
    return spans
