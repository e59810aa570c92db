"""The form that adds a checkpoint of the user as a backbone, checked while it is typed; and the base class of forms."""

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
from ssl_console.operations.add_backbone import (
    BackboneOptions,
    add_card,
    check_checkpoint,
    chosen_proposal,
    format_inspection,
    inspect_checkpoint,
    local_options,
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
    ("arguments", "arguments (arg)", "not visible in tensors: num_heads=6 img_size=96"),
    ("container", "container", "detected if empty: state_dict, teacher"),
    ("prefix", "prefix", "detected if empty: module.encoder_q."),
    ("drop", "drop", "prefixes of keys that do not belong to the backbone"),
    ("pooling", "pooling", "default if empty; avg, cls, cls+avg or map"),
    ("normalisation", "normalisation", "if empty: as in the checkpoint, else imagenet; or half, none"),
    ("mean", "mean", "instead of normalisation: 0.485,0.456,0.406, or 0.5"),
    ("std", "std", "standard deviation, in the same form"),
    ("size", "input size", "the architecture's own if empty"),
    ("resize", "resize", "shorter side before the crop"),
    ("crop", "crop", "instead of resize: fraction of the image in the crop"),
    ("interpolation", "interpolation", "bicubic or bilinear"),
)
"""Field of the form, its label, and its placeholder."""
OPTION = re.compile(r"--(arch|arg|container|prefix|drop|pooling|norm|mean|std|size|resize|crop|interpolation|name)\b")
WORDS = {"arch": "architecture", "arg": "arguments", "norm": "normalisation", "size": "input size"}
"""Options of the command line whose field has a different name."""
SETTLED_S = 0.7
"""Seconds after the last key press before the file is inspected."""
OPENS = ("path", "architecture", "arguments", "container", "prefix", "drop")
"""Fields that require another inspection of the file."""


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
        "the values found are shown below the fields, and empty fields are detected. Enter writes a card, and the "
        "backbone can be measured at once."
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
            kept = (
                ["Enter is kept: the backbone is added unless a field is missing; enter again cancels."]
                if self._adds
                else []
            )
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
