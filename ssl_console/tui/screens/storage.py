"""Dialog with the disk space used by a workspace."""

from __future__ import annotations

import shutil
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.operations.storage import StorageUse, storage_of
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views.storage import storage_lines
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines


class StorageDialog(Dialog[None]):
    """Sizes of runs, logs, caches and weights."""

    BINDINGS: ClassVar = bindings("help")

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog help") as panel:
            panel.border_title = "Disk space"
            yield Lines([line(Span("Looking at all files ...", Tone.DIM)), ()], id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Measure in a thread."""
        workspace = host(self).backend.session.workspace

        def measure() -> tuple[tuple[StorageUse, ...], int]:
            return storage_of(workspace), shutil.disk_usage(workspace.root).free

        host(self).in_background(measure, self._show, group="storage")

    def _show(self, measured: tuple[tuple[StorageUse, ...], int]) -> None:
        if self.is_mounted:
            self.query_one(Lines).show([*storage_lines(*measured), ()])
            self.refresh(layout=True)
