"""Images of a result on standard output: drawn in a terminal, and always listed with their paths."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ssl_console.cli.output import stdout
from ssl_console.workspace.pictures import ASCII_SHADES, SHADES, Picture, Row, colour_cells, open_picture, shaded

MOST_COLUMNS, MOST_ROWS = 72, 36


def show_pictures(paths: Sequence[Path]) -> None:
    """Print the images one after the other."""
    for path in paths:
        stdout.lines(["", f"picture  {path}"])
        picture = open_picture(path) if stdout.terminal_columns() else None
        if picture is not None:
            _draw(picture)


def _draw(picture: Picture) -> None:
    """Draw in the terminal's number of colours, or in characters without colours (NO_COLOR)."""
    from rich.console import Console
    from rich.segment import Segment, Segments

    from ssl_console.tui.style.glyphs import choose
    from ssl_console.tui.terminal.colour_depth import ColourDepth
    from ssl_console.tui.widgets.image import style_of

    console = Console(file=sys.stdout, highlight=False)
    columns, unicode = min(console.width, MOST_COLUMNS), choose().braille
    depth = ColourDepth.of(console.color_system)
    colours = console.is_terminal and console.color_system and not console.no_color and unicode
    if not colours or depth is ColourDepth.SIXTEEN:
        rows: list[Row] = shaded(picture, columns, MOST_ROWS, SHADES if unicode else ASCII_SHADES)
    else:
        rows = colour_cells(picture, columns, MOST_ROWS, few_colours=depth is ColourDepth.MANY)
    for row in rows:
        console.print(Segments([*(Segment(cell.sign, style_of(cell, depth)) for cell in row), Segment.line()]), end="")
