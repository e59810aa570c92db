"""A table drawn line by line, with any number of rows; only changed cells are drawn again.

The cursor follows the key of the row, not its position: it stays on its row when rows are sorted, filtered or added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.style import palette
from ssl_console.tui.style.palette import RenderContext, Under, render_context
from ssl_console.tui.style.text import EMPTY_CELL, Cell, Tone, clean, fit, wrap
from ssl_console.tui.widgets import table_model
from ssl_console.tui.widgets.table_model import Column, FilterHits, TableModel, VisibleColumn, next_of

CursorKind = Literal["row", "cell"]


class LineTable(ScrollView, can_focus=True):
    """A table widget. `show` replaces the content, and repaints the differences."""

    DEFAULT_CSS = """
    LineTable {
        height: 1fr; overflow-x: auto; overflow-y: auto; scrollbar-gutter: stable;
        scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar = bindings("table")

    class Moved(Message):
        """Message: the cursor has moved."""

        def __init__(self, table: LineTable, row: str | None, column: str | None) -> None:
            self.table, self.row, self.column = table, row, column
            super().__init__()

        @property
        def control(self) -> LineTable:
            """The table."""
            return self.table

    class Opened(Moved):
        """Message: double click on a cell. The enter key is bound by the screens."""

    class HeaderClicked(Moved):
        """Message: click on a column's header."""

    def __init__(self, *, cursor: CursorKind = "row", empty: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows = TableModel()
        self.cursor_kind: CursorKind = cursor
        self.empty = empty
        """Message shown when there are no rows."""
        self._row: str | None = None
        self._column: str | None = None
        self.shows_cursor = False
        """Whether the cursor is drawn as with focus, because another widget passes its keys on."""
        self._moved = False
        """Whether a key has been pressed here: before that, the cursor stays at the beginning when rows are added."""
        self.hits: Callable[[], FilterHits] = FilterHits
        """Rows and columns matched by the last filter, in their order."""
        self._painted: dict[str, list[Cell]] = {}
        self._drawn: tuple[int, list[VisibleColumn]] | None = None
        """Width and columns while lines are drawn, as every line needs them."""
        self._base = Style()

    # -- content ------------------------------------------------------------------------------------------------

    def show(self, rows: TableModel) -> None:
        """Show `rows`: repaint the cells that differ, or everything if rows or columns differ. An identical model
        object is assumed to be unchanged.
        """
        before, self.rows = self.rows, rows
        if before.columns == rows.columns and before.keys == rows.keys and before.fixed == rows.fixed:
            if rows is not before:
                self._repaint_changes()
            return
        self._keep_cursor(before.index.get(self._row or "", 0))
        self._fit_virtual_size()
        self._painted.clear()
        self.refresh()
        self._scroll_to_cursor()

    @property
    def _width(self) -> int:
        """Width of a line without the scrollbar, in cells."""
        return self.scrollable_content_region.width if self._drawn is None else self._drawn[0]

    def _fit_virtual_size(self) -> None:
        slack = max((column.width for column in self.rows.columns), default=0)
        width = self.rows.geometry.total
        height = len(self.rows.keys) + self.rows.header_lines
        self.virtual_size = Size(width + (slack if width > self._width else 0), height)

    def _keep_cursor(self, old_row: int) -> None:
        """Keep the cursor on its row and column; without them, on a neighbour, or at the beginning before any key."""
        if self._row not in self.rows.index or not self._moved:
            old_row = old_row if self._moved else 0
            self._row = self.rows.keys[min(old_row, len(self.rows.keys) - 1)] if self.rows.keys else None
        first = min(self._first_column, len(self.rows.columns) - 1)
        if self.rows.column_index.get(self._column or "", -1) < first or not self._moved:
            self._column = self.rows.columns[first].key if self.rows.columns else None

    def _repaint_changes(self) -> None:
        columns = self._visible_columns()
        for y, key in self._visible_rows():
            painted = self._painted.get(key)
            if painted is None:
                continue
            for column in columns:
                if painted[column.number] != self.rows.cell(key, self.rows.columns[column.number]):
                    self.refresh(Region(column.x, y, column.width, 1))

    def _visible_rows(self) -> Iterator[tuple[int, str]]:
        top = round(self.scroll_y)
        lines = max(0, self.size.height - self.rows.header_lines)
        for offset, key in enumerate(self.rows.keys[top : top + lines]):
            yield offset + self.rows.header_lines, key

    def _visible_columns(self) -> list[VisibleColumn]:
        if self._drawn is not None:
            return self._drawn[1]
        return self.rows.geometry.visible_columns(round(self.scroll_x), self._width)

    # -- cursor -------------------------------------------------------------------------------------------------

    @property
    def row(self) -> str | None:
        """Key of the row under the cursor."""
        return self._row

    @property
    def column(self) -> str | None:
        """Key of the column under the cursor."""
        return self._column

    def move_to(self, row: str | None = None, column: str | None = None) -> None:
        """Move the cursor to a row, a column or both; unknown keys have no effect."""
        self._moved = True
        old = (self._row, self._column)
        if row in self.rows.index:
            self._row = row
        if column in self.rows.column_index:
            self._column = column
        if (self._row, self._column) == old:
            return
        self._refresh_rows(old[0], self._row)
        if self._column != old[1]:
            self.refresh(Region(0, 0, self._width, self.rows.header_lines))
        self._scroll_to_cursor()
        self.post_message(self.Moved(self, self._row, self._column))

    def _refresh_rows(self, *keys: str | None) -> None:
        for key in {key for key in keys if key is not None}:
            y = self.rows.index[key] - round(self.scroll_y) + self.rows.header_lines
            if self.rows.header_lines <= y < self.size.height:
                self.refresh(Region(0, y, self._width, 1))

    def _scroll_to_cursor(self) -> None:
        if self._row is None or not self.size.height:
            return
        lines = max(1, self.size.height - self.rows.header_lines)
        index, top = self.rows.index[self._row], round(self.scroll_y)
        y = min(max(top, index - lines + 1), index)
        number = self.rows.column_index.get(self._column or "", 0)
        x = self.rows.geometry.scroll_to_show(number, round(self.scroll_x), self._width)
        if (x, y) != (round(self.scroll_x), top):
            self.scroll_to(x, y, animate=False, force=True, immediate=True)

    def _step_row(self, by: int) -> None:
        if self.rows.keys:
            index = self.rows.index.get(self._row or "", 0) + by
            self.move_to(row=self.rows.keys[min(max(index, 0), len(self.rows.keys) - 1)])

    def _step_column(self, by: int) -> None:
        if self.rows.columns:
            index = self.rows.column_index.get(self._column or "", 0) + by
            self.move_to(column=self.rows.columns[min(max(index, self._first_column), len(self.rows.columns) - 1)].key)

    @property
    def _first_column(self) -> int:
        return self.rows.first_reached if self.cursor_kind == "cell" else 0

    def action_up(self) -> None:
        self._step_row(-1)

    def action_down(self) -> None:
        self._step_row(1)

    def action_left(self) -> None:
        self._step_column(-1)

    def action_right(self) -> None:
        self._step_column(1)

    def action_first_column(self) -> None:
        self._step_column(-len(self.rows.columns))

    def action_last_column(self) -> None:
        self._step_column(len(self.rows.columns))

    def action_page_up(self) -> None:
        self._step_row(-max(1, self.size.height - self.rows.header_lines - 1))

    def action_page_down(self) -> None:
        self._step_row(max(1, self.size.height - self.rows.header_lines - 1))

    def action_first(self) -> None:
        self._step_row(-len(self.rows.keys))

    def action_last(self) -> None:
        self._step_row(len(self.rows.keys))

    def action_hit(self, step: int) -> None:
        """Move to the next or previous match: a row if the filter was about rows, otherwise a column."""
        hits = self.hits()
        rows = next_of(hits.rows, self.rows.keys, self._row, step)
        keys = [column.key for column in self.rows.columns]
        columns = next_of(hits.columns, keys, self._column, step) if rows is None else None
        if rows is None and columns is None:
            host(self).notify_user("No filter has matched here yet: / types one.")
        self.move_to(rows, columns)

    def heads(self) -> list[tuple[int, str]]:
        """First cell and key of every drawn column that the cursor can reach."""
        found = [(visible, self.rows.columns[visible.number].key) for visible in self._visible_columns()]
        return [(visible.x, key) for visible, key in found if visible.number >= self._first_column]

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; open the cell on a second click; sort on a header."""
        number = self.rows.geometry.column_at(event.x, round(self.scroll_x), self._width)
        column = self.rows.columns[number].key if number is not None else None
        if event.y < self.rows.header_lines:
            if column is not None:
                self.post_message(self.HeaderClicked(self, self._row, column))
            return
        row = dict(self._visible_rows()).get(event.y)
        if row is not None:
            self.move_to(row, column)
            if event.chain > 1:
                self.post_message(self.Opened(self, self._row, self._column))

    def note_key(self) -> None:
        """Fix the cursor to its row from the first key on."""
        self._moved = True

    def on_resize(self) -> None:
        """Keep the cursor visible."""
        self._fit_virtual_size()
        self._scroll_to_cursor()

    def on_focus(self, event: events.Focus) -> None:
        """Draw the cursor brighter; nothing else has to be redrawn."""
        event.prevent_default()
        self._take_focus(True)
        self._notify_parent(events.DescendantFocus(self))

    def on_blur(self, event: events.Blur) -> None:
        """Draw the cursor fainter."""
        event.prevent_default()
        self._take_focus(False)
        self._notify_parent(events.DescendantBlur(self))

    def _notify_parent(self, message: Message) -> None:
        if self.parent is not None:
            self.parent.post_message(message)

    def _take_focus(self, has_focus: bool) -> None:
        self.has_focus = has_focus
        self._refresh_rows(self._row)
        self.refresh(Region(0, 0, self._width, self.rows.header_lines))

    # -- drawing ------------------------------------------------------------------------------------------------

    def render_lines(self, crop: Region) -> list[Strip]:
        """Several lines; the background style, which takes as long as a line, and the columns are computed once."""
        self._base = self.rich_style
        self._drawn = self._width, self._visible_columns()
        try:
            return super().render_lines(crop)
        finally:
            self._drawn = None

    def render_line(self, y: int) -> Strip:
        header = self.rows.header_lines
        if y < header:
            segments = self._groups() if y < header - 1 else self._labels()
            return Strip(segments).adjust_cell_length(self._width, self._base)
        index = y - header + round(self.scroll_y)
        if index >= len(self.rows.keys):
            return self._blank(y - header if not self.rows.keys else None)
        return self._row_strip(self.rows.keys[index])

    def _blank(self, number: int | None) -> Strip:
        lines = wrap(self.empty, max(1, self._width - 2))
        text = f" {lines[number - 1]}" if number is not None and 0 < number <= len(lines) else ""
        return Strip(
            [Segment(fit(text, self._width), self._base + render_context(self).palette.tone(Tone.DIM))], self._width
        )

    def _row_strip(self, key: str) -> Strip:
        """A row. A gap with the background of the cell before it is joined with that cell."""
        cells = [EMPTY_CELL] * len(self.rows.columns)
        segments: list[Segment] = []
        context = render_context(self)
        under: Under = "" if key != self._row else "cell" if self.cursor_kind == "row" and self._active else "row"
        gap = Segment(" ", self._base + context.palette.cell_style(EMPTY_CELL, under))
        for column in self._visible_columns():
            cell = cells[column.number] = self.rows.cell(key, self.rows.columns[column.number])
            segments.extend(self._cell_segments(key, column, cell, context))
            whole = (
                key != self._row or self.cursor_kind == "row" or self.rows.columns[column.number].key != self._column
            )
            joined = whole and not (cell.underline or cell.picked or cell.heat is not None)
            segments.append(Segment(" ", segments[-1].style) if joined else gap)
        self._painted[key] = cells
        return Strip(segments).simplify().adjust_cell_length(self._width, gap.style)

    def _cell_segments(self, key: str, visible: VisibleColumn, cell: Cell, context: RenderContext) -> Iterator[Segment]:
        column = self.rows.columns[visible.number]
        style = self._base + context.palette.cell_style(cell, self._under(key, column))
        if cell.heat is None or visible.width < 3:
            yield Segment(column.fitted(cell.text, visible.width, context.glyphs.ellipsis), style)
        else:
            yield Segment(column.fitted(cell.text, visible.width - 2, context.glyphs.ellipsis) + " ", style)
            yield Segment(palette.sign(cell.heat, context.glyphs.steps), style)

    @property
    def _active(self) -> bool:
        return self.has_focus or self.shows_cursor

    def _under(self, key: str, column: Column) -> Under:
        if key != self._row:
            return ""
        whole_row = self.cursor_kind == "row"
        if self._active and (whole_row or column.key == self._column):
            return "cell"
        return "row"

    def _labels(self) -> list[Segment]:
        context, segments = render_context(self), []
        for visible in self._visible_columns():
            column = self.rows.columns[visible.number]
            at_cursor = self.cursor_kind == "cell" and self.has_focus and column.key == self._column
            tone = Tone.TITLE if column.sort or column.marked else Tone.PLAIN if at_cursor else Tone.DIM
            style = context.palette.tone(tone) + Style(bold=True)
            text = f"{clean(column.label)}{column.sort}" if column.sort else column.label
            fitted = table_model.label_text(text, column.sort, visible.width, column, context.glyphs.ellipsis)
            segments += [Segment(fitted, self._base + style), Segment(" ", self._base)]
        return self._with_more(segments)

    def _with_more(self, segments: list[Segment]) -> list[Segment]:
        """Mark the edges beyond which there are more columns."""
        visible, glyphs = self._visible_columns(), render_context(self).glyphs
        key_style = self._base + render_context(self).palette.tone(Tone.KEY)
        fixed = self.rows.fixed
        if len(visible) > fixed and visible[fixed].number > fixed and fixed:
            segments[2 * fixed - 1] = Segment(glyphs.left, key_style)
        if visible and visible[-1].number < len(self.rows.columns) - 1:
            strip = Strip(segments).adjust_cell_length(self._width - 1, self._base)
            return [*strip, Segment(glyphs.right, key_style)]
        return segments

    def _groups(self) -> list[Segment]:
        context, segments, x = render_context(self), [], 0
        style = self._base + context.palette.tone(Tone.FAINT)
        title = self._base + context.palette.tone(Tone.ACCENT)
        for name, left, right in table_model.spans_of_groups(self._visible_columns(), self.rows.columns):
            segments.append(Segment(" " * (left - x), self._base))
            label = fit(clean(name), min(len(name), right - left), ellipsis=context.glyphs.ellipsis)
            rule = f" {context.glyphs.rule * (right - left - len(label) - 1)}" if right - left > len(label) + 1 else ""
            segments += [Segment(label, title), Segment(rule, style)] if name else []
            x = left + len(label) + len(rule) if name else left
        return segments
