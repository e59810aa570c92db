"""The form that adds a dataset of the user: the files are scanned, then the card is written."""

from __future__ import annotations

from textual import on
from textual.widgets import Input

from backbones.io.files import expand_user
from ssl_console.operations.add_dataset import (
    dataset_card_path,
    dataset_name,
    discard_draft,
    format_import,
    in_words_of_dataset_form,
    options_of_dataset_form,
    scan_dataset,
    write_dataset,
)
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.screens.add import AddForm
from ssl_console.tui.style.text import Tone
from tasks.datasets.importing.messages import DatasetProblem, ImportProgress, ImportResult

DATASET_FIELDS = (
    ("path", "dataset", "a folder, a CSV, a COCO JSON, a tar or parquet file"),
    ("name", "name", "the folder's if empty"),
    ("layout", "layout", "detected if empty: class-folders, csv, voc, coco, parquet"),
    ("file_column", "file column", "of a CSV or parquet; detected if empty"),
    ("label_column", "label column", "of a CSV or parquet; detected if empty"),
    ("split_column", "split column", "of a CSV or parquet; detected if empty"),
    ("split_words", "split words", "of the split column: holdout=test fold0=none *=train"),
    ("several", "several labels", "yes or no, where cells contain | ; or ,"),
    ("test_share", "test share", "0.2 of every class if empty, where no splits exist"),
    ("skip_unreadable", "skip unreadable", "yes leaves out images that cannot be decoded"),
    ("leave_out", "leave out", "yes leaves out classes without usable images"),
    ("background", "background", "of transparent images: white if empty, or #rrggbb"),
    ("orientation", "orientation", "upright if empty, or stored: EXIF is ignored"),
)
"""Field of the form, its label, and its placeholder."""


class AddDatasetDialog(AddForm):
    """Scans the files first; ends with the name of the new card, or None."""

    TITLE_TEXT = "Add a dataset"
    HELP_TEXT = (
        "A folder or a table of images of your own. Enter scans the files and shows how they are read, what is left "
        "out and why; pressing it again writes the card."
    )
    FIELDS = DATASET_FIELDS

    def __init__(self) -> None:
        super().__init__()
        self.imported: ImportResult | None = None
        """Result of the scan; None until it is completed for the current fields."""
        self._busy = False

    def on_mount(self) -> None:
        """Explain the keys; the base class focuses the path."""
        self.show_text("Enter scans the files; pressing it again writes the card.", tone=Tone.DIM)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Require another scan after other fields have changed."""
        event.stop()
        self._discard()

    def action_add(self) -> None:
        """Scan the files; then write the card."""
        if self._busy:
            return
        try:
            self._write(self.imported) if self.imported is not None else self._look(self.values)
        except ConsoleError as error:
            self.show_text(in_words_of_dataset_form(str(error)), tone=Tone.BAD)

    def _look(self, fields: dict[str, str]) -> None:
        """Start the scan. Raises ConsoleError for an invalid value of a field."""
        if not fields["path"]:
            raise ConsoleError("enter a folder or a file first")
        workspace, path = host(self).backend.session.workspace, expand_user(fields["path"])
        options, name = options_of_dataset_form(fields), dataset_name(path, fields["name"] or None)
        dataset_card_path(workspace, name)

        def show(progress: ImportProgress) -> None:
            if self.is_mounted:
                self.app.call_from_thread(self.show_text, f"scanning images: {progress.done:,} of {progress.total:,}")

        def look() -> ImportResult | str:
            try:
                return scan_dataset(workspace, path, name, options, show)
            except (DatasetProblem, ConsoleError) as error:
                return str(error)

        self._busy = True
        self.show_text("Scanning the files ...", tone=Tone.DIM)
        host(self).in_background(look, lambda found: self._take(found, fields), group="import")

    def _take(self, found: ImportResult | str, fields: dict[str, str]) -> None:
        self._busy = False
        if not self.is_mounted:
            return
        if isinstance(found, str):
            self.show_text(in_words_of_dataset_form(found), tone=Tone.BAD)
        elif fields == self.values:
            self.imported = found
            self.show_text(*format_import(found), "Enter writes the card.")
        else:
            discard_draft(host(self).backend.session.workspace, found.card.name)
            self.show_text("The fields have changed: Enter scans again.", tone=Tone.WARN)

    def action_close(self) -> None:
        """Discard the draft and close."""
        self._discard()
        super().action_close()

    def _discard(self) -> None:
        if self.imported is not None:
            discard_draft(host(self).backend.session.workspace, self.imported.card.name)
            self.imported = None

    def _write(self, imported: ImportResult) -> None:
        session = host(self).backend.session

        def write() -> str:
            write_dataset(session.workspace, imported)
            session.reload_tasks()
            return imported.card.name

        host(self).in_background(write, self._written, group="add")

    def _written(self, name: str) -> None:
        host(self).notify_user(f"{name} was added.")
        self.close_with(name)
