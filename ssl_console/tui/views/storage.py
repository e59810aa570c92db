"""Disk space of a workspace as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_console.operations.disk_space import StorageUse
from ssl_console.planning.duration import megabytes
from ssl_console.tui.style.text import Line, Span, Tone, fit, line

TITLE_WIDTH, SIZE_WIDTH = 40, 10


def storage_lines(uses: Sequence[StorageUse], free: int) -> list[Line]:
    """One line per purpose, the total and the free space (bytes), then the commands that free some of it."""
    rows = [(use.title, use.size) for use in uses]
    sizes = [_row(title, size, Tone.PLAIN) for title, size in rows]
    total = [_row("in all", sum(size for _, size in rows), Tone.STRONG), _row("free on this disk", free, Tone.DIM)]
    return [*sizes, (), *total, (), *_commands(uses)]


def _row(title: str, size: int, tone: Tone) -> Line:
    return line(Span(fit(title, TITLE_WIDTH), tone), Span(f"{megabytes(size):>{SIZE_WIDTH}}", tone))


def _commands(uses: Sequence[StorageUse]) -> list[Line]:
    """Each command once, after the purposes it applies to."""
    commands = dict.fromkeys(use.freed_by for use in uses if use.freed_by)
    purposes = {command: ", ".join(use.title for use in uses if use.freed_by == command) for command in commands}
    return [
        text
        for command, titles in purposes.items()
        for text in (line(Span(f"{titles}:", Tone.DIM)), line(Span(f"  {command}", Tone.KEY)))
    ]
