"""The text of a table's header: labels with their sort signs, and the extent of groups."""

from __future__ import annotations

from ssl_console.tui.style.text import fit
from ssl_console.tui.widgets.table_model import Column, VisibleColumn


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
