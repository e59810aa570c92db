"""Writing a table out: to a file that is named, and to the terminal's clipboard."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.export import EXPORTS, Format
from ssl_console.ranking import Ranking
from ssl_console.tui.bars import KeyLine
from ssl_console.tui.keys import bindings
from ssl_console.tui.lines import Lines
from ssl_console.tui.screens.base import Sheet, console
from ssl_console.tui.text import Span, Tone, line

SUFFIXES: dict[Format, str] = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}


class ExportSheet(Sheet[None]):
    """Which format; then the view is written as it stands."""

    BINDINGS: ClassVar = bindings("export")

    def __init__(self, ranking: Ranking) -> None:
        super().__init__()
        self._ranking = ranking

    def compose(self) -> ComposeResult:
        """The panel."""
        rows, columns = len(self._ranking.rows), len(self._ranking.columns)
        with Vertical(classes="sheet small") as panel:
            panel.border_title = "Export"
            yield Lines(
                [
                    line(f"This view: {rows} rows, {columns} columns, in this order."),
                    line(Span("Written to a file in the folder you started from, and copied.", Tone.DIM)),
                    (),
                ]
            )
            yield KeyLine()

    def action_write(self, name: Format) -> None:
        """In this format."""
        text = EXPORTS[name](self._ranking)
        app = console(self)
        app.copy_to_clipboard(text)
        path = _free_name(Path.cwd(), f"ranking.{SUFFIXES[name]}")
        app.in_background(
            lambda: _write(path, text), lambda written: app.say(f"{written} written, and copied."), group="export"
        )
        self.dismiss(None)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _free_name(folder: Path, name: str) -> Path:
    """A name that is not taken: an export never writes over anything."""
    path = folder / name
    number = 2
    while path.exists():
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return path
