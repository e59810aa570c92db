"""Form that adds a checkpoint of the user; fields are checked while they are typed."""

from __future__ import annotations

import re

from textual import on
from textual.timer import Timer
from textual.widgets import Input

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
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.screens.add_form import AddForm
from ssl_console.tui.style.text import Tone

FIELDS = (
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


def in_words_of_the_form(message: str) -> str:
    """A message with options of the command line replaced by the fields of the form."""
    return OPTION.sub(lambda found: WORDS.get(found[1], found[1]), message)


class AddBackboneDialog(AddForm):
    """Inspects the file while the fields are typed; ends with the name of the new card, or None."""

    TITLE_TEXT = "Add a backbone"
    FIELDS = FIELDS

    def __init__(self) -> None:
        super().__init__()
        self.inspection: Inspection | None = None
        """Inspection of the file; None until it is completed for the current fields."""
        self._timer: Timer | None = None
        self._inspected: tuple[str, ...] = ()

    @property
    def options(self) -> BackboneOptions:
        """Values of the fields. Raises ConsoleError for an invalid value."""
        return options_of_form(self.values)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Check the fields at once, and inspect the file when typing pauses."""
        event.stop()
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
        self.show_text("Inspecting the file ...", tone=Tone.DIM)
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SETTLED_S, lambda: self._inspect(options, inspected))

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
        if isinstance(inspection, str):
            self.show_text(inspection, tone=Tone.BAD)
            return
        self.inspection, self._inspected = inspection, inspected
        self._show(self.options, inspection)

    def _show(self, options: BackboneOptions, inspection: Inspection) -> None:
        texts = map(in_words_of_the_form, format_inspection(inspection, options))
        lines = [part for text in texts for part in self.wrapped(text)]
        try:
            chosen_proposal(options, inspection)
        except ConsoleError as error:
            lines += self.wrapped(in_words_of_the_form(str(error)), Tone.BAD)
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
