"""Forms that add a checkpoint or a dataset of the user; fields are checked while they are typed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Input, Label

from backbones.inspection.proposal import Inspection
from backbones.io.errors import WeightsError
from backbones.io.files import expand_user
from ssl_console.operations.add_backbone import (
    BackboneOptions,
    add_card,
    check_checkpoint,
    chosen_proposal,
    format_inspection,
    inspect_checkpoint,
    local_options,
)
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
from ssl_console.operations.option_texts import options_of_form
from ssl_console.planning.duration import format_duration
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.inputs import PathInput, StaticInput
from ssl_console.tui.widgets.styled_text import StyledText
from tasks.datasets.importing.messages import DatasetProblem, ImportProgress, ImportResult

PATH = "path"
"""The field whose text is completed as a path."""
FRAME = 4
"""Lines of the form that are neither fields nor their result: border, gap, keys."""
MOST_LINES, FEWEST_FIELDS = 14, 4
"""Largest height of the result, and the least that it leaves to the fields."""
BACKBONE_FIELDS = (
    ("path", "checkpoint", "/runs/last.pth or hf:ORG/MODEL"),
    ("name", "name", "own/<file> if empty"),
    ("architecture", "architecture", "detected if empty; a timm name"),
    ("arguments", "arguments (arg)", "what tensors do not show: num_heads=6 img_size=96"),
    ("container", "container", "detected if empty: state_dict, teacher"),
    ("prefix", "prefix", "detected if empty: module.encoder_q."),
    ("drop", "drop", "beginnings of keys that are no part of the backbone"),
    ("pooling", "pooling", "default if empty; avg, cls, cls+avg or map"),
    ("normalisation", "normalisation", "as stated, else imagenet, if empty; half or none"),
    ("mean", "mean", "instead: 0.485,0.456,0.406, or one number"),
    ("std", "std", "its deviation"),
    ("size", "input size", "the architecture's own if empty"),
    ("resize", "resize", "shorter side before the crop, in its own reading"),
    ("crop", "crop", "instead: the fraction that the crop keeps"),
    ("interpolation", "interpolation", "bicubic or bilinear, in its own reading"),
)
"""Field of the form, its label, and its placeholder."""
OPTION = re.compile(r"--(arch|arg|container|prefix|drop|pooling|norm|mean|std|size|resize|crop|interpolation|name)\b")
WORDS = {"arch": "architecture", "arg": "arguments", "norm": "normalisation", "size": "input size"}
"""Options of the command line whose field has a different name."""
SETTLED_S = 0.7
"""Seconds after the last key press before the file is inspected."""
OPENS = ("path", "architecture", "arguments", "container", "prefix", "drop")
"""Fields that require another inspection of the file."""
DATASET_FIELDS = (
    ("path", "dataset", "a folder, a CSV, a COCO JSON, a tar or parquet file"),
    ("name", "name", "the folder's if empty"),
    ("layout", "layout", "recognised if empty: class-folders, csv, voc, coco, parquet"),
    ("file_column", "file column", "of a CSV or parquet; recognised if empty"),
    ("label_column", "label column", "of a CSV or parquet; recognised if empty"),
    ("split_column", "split column", "of a CSV or parquet; recognised if empty"),
    ("split_words", "split words", "of the split column: holdout=test fold0=none *=train"),
    ("several", "several labels", "yes or no, where cells contain | ; or ,"),
    ("test_share", "test share", "0.2 of every class if empty, where there are no splits"),
    ("skip_unreadable", "skip unreadable", "yes leaves out images that cannot be decoded"),
    ("leave_out", "leave out", "yes leaves out classes that hold nothing usable"),
    ("background", "background", "of transparent images: white if empty, or #rrggbb"),
    ("orientation", "orientation", "upright if empty, or stored: EXIF is ignored"),
)
"""Field of the form, its label, and its placeholder."""


class AddForm(Dialog[str | None]):
    """Ends with the name of the new card, or None."""

    TITLE_TEXT: ClassVar[str]
    FIELDS: ClassVar[Sequence[tuple[str, str, str]]]
    """Name of each field, its label, and its placeholder; one of them is `PATH`."""
    BINDINGS: ClassVar = bindings("adding")
    DEFAULT_CSS = """
    AddForm #fields { height: auto; scrollbar-size-vertical: 1; }
    AddForm Horizontal { height: 1; }
    AddForm Label { width: 16; color: $text-muted; }
    AddForm Input { width: 1fr; background: $background; }
    AddForm #found { height: auto; margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = 0
        """Height of the result."""

    def compose(self) -> ComposeResult:
        """The fields, the result, the keys."""
        with Vertical(classes="dialog adding") as panel:
            panel.border_title = self.TITLE_TEXT
            with VerticalScroll(id="fields", can_focus=False):
                for name, label, hint in self.FIELDS:
                    with Horizontal():
                        yield Label(label, markup=False)
                        kind = PathInput if name == PATH else StaticInput
                        yield kind(id=name, placeholder=hint, compact=True, select_on_focus=False)
            yield StyledText(id="found")
            yield KeyLine()

    def on_mount(self) -> None:
        """Focus the path."""
        self.query_one(f"#{PATH}", Input).focus()

    def close_with(self, name: str) -> None:
        """Close with a new card; if the form was closed while the card was written, only list the card."""
        if self.is_open:
            self.dismiss(name)
        else:
            host(self).reload_catalogue()

    def value(self, name: str) -> str:
        """Text of a field."""
        return self.query_one(f"#{name}", Input).value.strip()

    @property
    def values(self) -> dict[str, str]:
        """Text of every field by its name."""
        return {name: self.value(name) for name, _, _ in self.FIELDS}

    def show_text(self, *texts: str, tone: Tone = Tone.PLAIN) -> None:
        """Show wrapped paragraphs below the fields."""
        self.show_lines([part for text in texts for part in self.wrapped(text, tone)])

    def wrapped(self, text: str, tone: Tone = Tone.PLAIN) -> list[Line]:
        """Lines of a paragraph in the width of the form."""
        return [line(Span(part, tone)) for part in wrap(text, min(78, self.app.size.width - 6))]

    def show_lines(self, lines: list[Line]) -> None:
        """Show lines below the fields."""
        self.query_one("#found", StyledText).show(lines)
        self._lines = len(lines)
        self._divide_height()
        self.refresh(layout=True)

    def on_resize(self) -> None:
        """Fit the form to the terminal."""
        self._divide_height()

    def _divide_height(self) -> None:
        """Scroll the fields if they and the result are higher than the terminal, so that the keys remain visible."""
        room = self.app.size.height - FRAME
        found = min(self._lines, MOST_LINES, max(2, room - FEWEST_FIELDS))
        self.query_one("#found").styles.max_height = max(1, found)
        self.query_one("#fields").styles.max_height = max(FEWEST_FIELDS, room - max(1, found))

    @on(PathInput.Listed)
    def _listed(self, message: PathInput.Listed) -> None:
        self.show_text("  ".join(message.names), tone=Tone.DIM)


def in_words_of_backbone_form(message: str) -> str:
    """A message with options of the command line replaced by the fields of the form."""
    return OPTION.sub(lambda found: WORDS.get(found[1], found[1]), message)


class AddBackboneDialog(AddForm):
    """Inspects the file while the fields are typed; ends with the name of the new card, or None."""

    TITLE_TEXT = "Add a backbone"
    HELP_TEXT = (
        "A checkpoint of your own. The file is inspected while the fields are typed, without running code from it; "
        "what is found is shown below the fields, and an empty field is detected. Enter writes a card, which can be "
        "measured at once."
    )
    FIELDS = BACKBONE_FIELDS

    def __init__(self) -> None:
        super().__init__()
        self.inspection: Inspection | None = None
        """Inspection of the file; None until it is completed for the current fields."""
        self._timer: Timer | None = None
        self._inspected: tuple[str, ...] = ()
        self._began: float | None = None  # of the present inspection
        self._adds = False  # enter was pressed during it

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show_elapsed)

    @property
    def options(self) -> BackboneOptions:
        """Values of the fields. Raises ConsoleError for an invalid value."""
        return options_of_form(self.values)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Check the fields at once, and inspect the file when typing pauses."""
        event.stop()
        self._began, self._adds = None, False
        if not self.value("path"):
            self.show_lines([])
            return
        inspected = tuple(self.query_one(f"#{name}", Input).value for name in OPENS)
        if inspected != self._inspected:
            self.inspection = None
        try:
            options = self.options
            check_checkpoint(host(self).backend.session.workspace, options)
        except ConsoleError as error:
            self.show_text(str(error), tone=Tone.BAD)
            return
        if self.inspection is not None:
            self._show(options, self.inspection)
            return
        self._began = time.monotonic()
        self._show_elapsed()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SETTLED_S, lambda: self._inspect(options, inspected))

    def _show_elapsed(self) -> None:
        if self._began is not None:
            kept = ["Enter is kept: added unless something is missing; enter again cancels this."] if self._adds else []
            elapsed_s = time.monotonic() - self._began
            self.show_text(f"Inspecting the file ...  {format_duration(elapsed_s)}", *kept, tone=Tone.DIM)

    def _inspect(self, options: BackboneOptions, inspected: tuple[str, ...]) -> None:
        session = host(self).backend.session

        def inspect() -> Inspection | str:
            try:
                return inspect_checkpoint(local_options(session, options))
            except (ConsoleError, WeightsError) as error:
                return str(error)

        host(self).in_background(inspect, lambda inspection: self._take(inspection, inspected), group="inspect")

    def _take(self, inspection: Inspection | str, inspected: tuple[str, ...]) -> None:
        if not self.is_mounted or inspected != tuple(self.query_one(f"#{name}", Input).value for name in OPENS):
            return
        self._began, adds, self._adds = None, self._adds, False
        if isinstance(inspection, str):
            self.show_text(inspection, tone=Tone.BAD)
            return
        self.inspection, self._inspected = inspection, inspected
        self._show(self.options, inspection)
        if adds:
            self.action_add()

    def _show(self, options: BackboneOptions, inspection: Inspection) -> None:
        texts = map(in_words_of_backbone_form, format_inspection(inspection, options))
        lines = [part for text in texts for part in self.wrapped(text)]
        try:
            chosen_proposal(options, inspection)
        except ConsoleError as error:
            lines += self.wrapped(in_words_of_backbone_form(str(error)), Tone.BAD)
        self.show_lines(lines)

    def action_add(self) -> None:
        """Write the card, if no choice is left."""
        inspection, app = self.inspection, host(self)
        try:
            options = self.options
            check_checkpoint(app.backend.session.workspace, options)
        except ConsoleError as error:
            self.show_text(str(error), tone=Tone.BAD)
            return
        if self._began is not None:
            self._adds = not self._adds
            self._show_elapsed()
            return
        if inspection is None or inspection.chosen is None:
            app.notify_user("Incomplete: see below what is missing.")
            return
        session = app.backend.session
        app.in_background(
            lambda: add_card(session, local_options(session, options), inspection), self._added, group="add"
        )

    def _added(self, name: str) -> None:
        host(self).notify_user(f"{name} was added. `ssl-console doctor {name}` checks it.")
        self.close_with(name)


class AddDatasetDialog(AddForm):
    """Scans the files first; ends with the name of the new card, or None."""

    TITLE_TEXT = "Add a dataset"
    HELP_TEXT = (
        "A folder or a table of images of your own. Enter scans the files and shows how they are read, what is left "
        "out and why; enter once more writes the card."
    )
    FIELDS = DATASET_FIELDS

    def __init__(self) -> None:
        super().__init__()
        self.imported: ImportResult | None = None
        """Result of the scan; None until it is completed for the current fields."""
        self._busy = False

    def on_mount(self) -> None:
        """Explain the keys; the base class focuses the path."""
        self.show_text("Enter scans the files, and Enter once more writes the card.", tone=Tone.DIM)

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
            raise ConsoleError("name a folder or a file first")
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
