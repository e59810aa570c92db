"""Selection in tables: `space` marks without moving, `v` marks a range, `*` all, `u` reverts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar

from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.widgets.virtual_table import LineTable

Item = TypeVar("Item")


def marking_keys(what: str, effect: str = "", *, verb: str = "mark") -> tuple[Key, ...]:
    """The keys of a screen whose table contains `what` as markable items. `verb` is the name of the first in
    config.toml, and the word for it in the texts.
    """
    title = verb.capitalize()
    return (
        Key(verb, "space", "mark", verb, f"{title} or un{verb} the {what} under the cursor{effect}"),
        Key(
            "range",
            "v",
            "mark_range",
            "range",
            f"{title} every {what} from the last {verb}ed one to the cursor",
            footer=False,
        ),
        Key("all", "asterisk", "mark_all", "all", f"{title} every listed {what}, or none of them", footer=False),
    )


class MarkingScreen(ConsoleScreen, Generic[Item]):
    """A screen with a table whose rows or cells can be marked."""

    def __init__(self) -> None:
        super().__init__()
        self._anchor: tuple[str, str] | None = None
        """Row and column of the last mark, the start of a range."""

    @property
    @abstractmethod
    def marks(self) -> Sequence[Item]:
        """Everything that is marked."""

    @abstractmethod
    def set_marks(self, marks: Sequence[Item]) -> None:
        """Mark these and nothing else."""

    @abstractmethod
    def items(self, rows: Sequence[str], columns: Sequence[str]) -> Sequence[Item]:
        """Markable items of these rows and columns, in their order."""

    def change_marks(self, marks: Sequence[Item], what: str) -> None:
        """Change the marks, and register the change for undo."""
        before = tuple(self.marks)
        if list(before) != list(marks):
            host(self).undoable(what, lambda: self.set_marks(before))
            self.set_marks(marks)

    def toggle(self, items: Sequence[Item], what: str) -> None:
        """Mark these, or unmark them if all are marked."""
        marked, chosen = list(self.marks), set(items)
        if chosen <= set(marked):
            self.change_marks([item for item in marked if item not in chosen], f"unmarking of {what}")
        else:
            self.change_marks([*marked, *(item for item in items if item not in marked)], f"mark of {what}")

    def places(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Rows and columns of the table, for the palette."""
        yield from places_of(self.query_one(LineTable))

    def action_mark(self) -> None:
        """Mark or unmark the row or cell under the cursor."""
        table = self.query_one(LineTable)
        items = self.items([table.row or ""], [table.column or ""])
        self._anchor = (table.row or "", table.column or "")
        if items:
            self.toggle(items, _named(items))

    def action_mark_range(self) -> None:
        """Mark everything between the last mark and the cursor."""
        table = self.query_one(LineTable)
        here = (table.row or "", table.column or "")
        start = self._anchor if self._anchor and self._anchor[0] in table.rows.index else here
        rows = _between(table.rows.keys, start[0], here[0])
        columns = _between([column.key for column in table.rows.columns], start[1], here[1])
        marked, items = list(self.marks), self.items(rows, columns)
        self._anchor = here
        self.change_marks([*marked, *(item for item in items if item not in marked)], f"mark of {_named(items)}")

    def action_mark_all(self) -> None:
        """Mark all listed items, or none if all are marked."""
        rows = self.query_one(LineTable).rows
        items = self.items(rows.keys, [column.key for column in rows.columns])
        if items:
            self.toggle(items, _named(items))


def places_of(table: LineTable) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Kind and name of every row and column that the cursor can reach, and the function that moves it there."""
    if table.cursor_kind == "cell":
        for column in table.rows.columns[table.rows.first_reached :]:
            yield "column", column.key, partial(table.move_to, column=column.key)
    for row in table.rows.keys:
        yield "row", row, partial(table.move_to, row=row)


def _named(items: Sequence[object]) -> str:
    first = items[0] if items else "nothing"
    text = " on ".join(first) if isinstance(first, tuple) else str(first)
    return text if len(items) < 2 else f"{len(items)} from {text}"


def _between(keys: Sequence[str], one: str, other: str) -> Sequence[str]:
    """Keys between two of them, in either direction; only the second if the first is missing."""
    places = {key: number for number, key in enumerate(keys)}
    if other not in places:
        return []
    ends = sorted((places.get(one, places[other]), places[other]))
    return list(keys)[ends[0] : ends[1] + 1]
