"""The form that adds a dataset of the user: it is looked through first, and its card is written after that."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label

from ssl_console.operations.add_dataset import (
    dataset_card_path,
    dataset_name,
    discard_draft,
    format_import,
    options_of_dataset_form,
    scan_dataset,
    write_dataset,
)
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.filter_bar import StaticInput
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.path_input import PathInput
from ssl_console.tui.widgets.styled_text import StyledText
from tasks.datasets.importing.messages import DatasetProblem, ImportProgress, ImportResult

FIELDS = (
    ("path", "dataset", "a folder, a CSV, a COCO JSON, a tar or parquet file"),
    ("name", "name", "the folder's if empty"),
    ("layout", "layout", "recognised if empty: class-folders, csv, voc, coco, parquet"),
    ("file_column", "file column", "of a CSV or parquet; recognised if empty"),
    ("label_column", "label column", "of a CSV or parquet; recognised if empty"),
    ("split_column", "split column", "of a CSV or parquet; recognised if empty"),
    ("test_share", "test share", "0.2 of every class if empty, where there are no splits"),
    ("skip_unreadable", "skip unreadable", "yes leaves out images that cannot be decoded"),
    ("leave_out", "leave out", "yes leaves out classes that hold nothing usable"),
)
"""Field of the form, its label, and its placeholder."""


class AddDatasetDialog(Dialog[str | None]):
    """Ends with the name of the new card, or None."""

    BINDINGS: ClassVar = bindings("adding")
    DEFAULT_CSS = """
    AddDatasetDialog Horizontal { height: 1; }
    AddDatasetDialog Label { width: 16; color: $text-muted; }
    AddDatasetDialog Input { width: 1fr; background: $background; }
    AddDatasetDialog #found { height: auto; max-height: 14; margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.imported: ImportResult | None = None
        """What was found; None until it was looked through with the present fields."""
        self._busy = False

    def compose(self) -> ComposeResult:
        """The fields, what was found, the keys."""
        with Vertical(classes="dialog adding") as panel:
            panel.border_title = "Add a dataset"
            for name, label, hint in FIELDS:
                with Horizontal():
                    yield Label(label, markup=False)
                    kind = PathInput if name == "path" else StaticInput
                    yield kind(id=name, placeholder=hint, compact=True, select_on_focus=False)
            yield StyledText(id="found")
            yield KeyLine()

    def on_mount(self) -> None:
        """Begin with the path."""
        self.query_one("#path", Input).focus()
        self._say(["Enter looks through the files, and Enter once more writes the card."], Tone.DIM)

    @property
    def _fields(self) -> dict[str, str]:
        return {name: self.query_one(f"#{name}", Input).value.strip() for name, _, _ in FIELDS}

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Other fields need another look."""
        event.stop()
        self.imported = None

    @on(PathInput.Listed)
    def _listed(self, message: PathInput.Listed) -> None:
        self._say(["  ".join(message.names)], Tone.DIM)

    def _say(self, texts: list[str], tone: Tone = Tone.PLAIN) -> None:
        width = min(78, self.app.size.width - 6)
        lines: list[Line] = [line(Span(part, tone)) for text in texts for part in wrap(text, width)]
        self.query_one("#found", StyledText).show(lines)
        self.refresh(layout=True)

    def action_add(self) -> None:
        """Look through the files; then write the card."""
        if self._busy:
            return
        try:
            self._write(self.imported) if self.imported is not None else self._look(self._fields)
        except ConsoleError as error:
            self._say([str(error)], Tone.BAD)

    def _look(self, fields: dict[str, str]) -> None:
        """Raises ConsoleError for a field that has no such value."""
        if not fields["path"]:
            raise ConsoleError("name a folder or a file first")
        workspace, path = host(self).backend.session.workspace, Path(fields["path"]).expanduser()
        options, name = options_of_dataset_form(fields), dataset_name(path, fields["name"] or None)
        dataset_card_path(workspace, name)

        def show(progress: ImportProgress) -> None:
            if self.is_mounted:
                self.app.call_from_thread(self._say, [f"looking at images: {progress.done:,} of {progress.total:,}"])

        def look() -> ImportResult | str:
            try:
                return scan_dataset(workspace, path, name, options, show)
            except (DatasetProblem, ConsoleError) as error:
                return str(error)

        self._busy = True
        self._say(["Looking through the files ..."], Tone.DIM)
        host(self).in_background(look, lambda found: self._take(found, fields), group="import")

    def _take(self, found: ImportResult | str, fields: dict[str, str]) -> None:
        self._busy = False
        if not self.is_mounted:
            return
        if isinstance(found, str):
            self._say([found], Tone.BAD)
        elif fields == self._fields:
            self.imported = found
            self._say([*format_import(found), "Enter writes the card."])
        else:
            discard_draft(host(self).backend.session.workspace, found.card.name)
            self._say(["The fields have changed: Enter looks again."], Tone.WARN)

    def action_close(self) -> None:
        """Leave nothing behind."""
        if self.imported is not None:
            discard_draft(host(self).backend.session.workspace, self.imported.card.name)
        super().action_close()

    def _write(self, imported: ImportResult) -> None:
        session = host(self).backend.session

        def write() -> str:
            write_dataset(session.workspace, imported)
            session.reload_tasks()
            return imported.card.name

        host(self).in_background(write, self._written, group="add")

    def _written(self, name: str) -> None:
        host(self).notify_user(f"{name} was added.")
        self.dismiss(name)
