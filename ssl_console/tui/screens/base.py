"""Base classes of screens and dialogs: top and bottom bar, displayed state, and actions disabled by `--readonly`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.containers import Container
from textual.events import ScreenResume
from textual.reactive import Reactive
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from ssl_console.tui.host import host
from ssl_console.tui.keys import Key, bindings, changing_actions
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.widgets.header_footer import KeyLine, StatusText, TopBar
from ssl_console.tui.widgets.styled_text import StyledText

if TYPE_CHECKING:
    from ssl_console.tui.data.state import AppState
    from ssl_console.tui.screens.editing import EditTarget

ScreenResult = TypeVar("ScreenResult")
Answer = TypeVar("Answer")
NARROW = 100
"""Cells below which two panes do not fit side by side."""


class ConsoleScreen(Screen[None]):
    """A screen with its own mode."""

    MODE: ClassVar[str]
    """Name in the app's list of screens, and scope of the keys."""
    KEYS: ClassVar[tuple[Key, ...]] = ()
    HELP_TEXT: ClassVar[str] = ""
    """Purpose of the screen, shown by the help above the keys."""
    SHOWS_DEVICES: ClassVar[bool] = True
    """Whether the screen is redrawn after every reading of the devices."""
    AUTO_FOCUS = ""
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """Focused widget, without repaint: Textual would redraw the whole screen on every change of focus."""

    def __init_subclass__(cls, **options: bool) -> None:
        """Bind the declared keys; a base class of several screens has no mode."""
        if hasattr(cls, "MODE"):
            cls.BINDINGS = bindings(cls.MODE, cls.KEYS)
        super().__init_subclass__(**options)

    def compose(self) -> ComposeResult:
        """Bar, body, keys."""
        yield TopBar(self.MODE)
        with Container(id="body"):
            yield from self.body()
        yield KeyLine()

    def body(self) -> ComposeResult:
        """Widgets between the bars."""
        yield from ()

    @property
    def pane_help(self) -> str:
        """Purpose of the focused pane, shown by the help first."""
        return str(getattr(self.focused, "HELP_TEXT", ""))

    @property
    def state(self) -> AppState:
        """The current state of the app."""
        return host(self).state

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Show changes made while another screen was active.

        Textual would also compute the styles of every widget again, lay the screen out and draw it a second time;
        changes of theme and of classes are applied without that.
        """
        if self.stack_updates:
            event.refresh_styles = False
        self.refresh_view()

    def on_resize(self) -> None:
        """Redraw, because columns and panes depend on the width."""
        self.set_class(self.size.width < NARROW, "narrow")
        if self.is_mounted:
            self.refresh_view()

    def refresh_view(self) -> None:
        """Show the current state; called for the visible screen only."""
        app = host(self)
        for bar in self.query(TopBar):
            bar.show(status(app.state, readonly=app.readonly, slow=app.slow))
            if self.size.width:  # zero before the first layout, which is followed by another call
                self.update_view(app.state)

    def update_view(self, state: AppState) -> None:
        """Update every widget."""

    def concerned_by(self, before: AppState, now: AppState) -> bool:
        """Whether a change of the state can change the view."""
        if self.SHOWS_DEVICES or before.devices is now.devices:
            return True
        names = (field.name for field in fields(now) if field.name != "devices")
        return any(getattr(before, name) is not getattr(now, name) for name in names)

    def edit_targets(self) -> list[EditTarget]:
        """Targets of `e` on this screen, the most likely first."""
        return []

    def go_back(self) -> bool:
        """Leave the innermost layer (a filter, a zoomed pane); False when there is none."""
        return False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Disable the actions that change the workspace with `--readonly`."""
        return not (host(self).readonly and action in changing_actions())

    def in_background(self, work: Callable[[], Answer], then: Callable[[Answer], None], *, group: str) -> None:
        """Run `work` in a thread, then `then` with its result; errors are shown in a panel."""
        host(self).in_background(work, then, group=group)


class Dialog(ModalScreen[ScreenResult]):
    """A panel over the screen."""

    AUTO_FOCUS = "*"
    HELP_TEXT: ClassVar[str] = ""
    """Purpose of the dialog, shown by the help above its keys."""
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Disable the actions that change the workspace with `--readonly`."""
        return not (host(self).readonly and action in changing_actions())

    @property
    def is_open(self) -> bool:
        """Whether it is on the screen, possibly below another dialog."""
        return self in self.app.screen_stack

    def dismiss(self, result: ScreenResult | None = None) -> AwaitComplete:
        """Close it and dialogs above it; no effect once it is closed, e.g. by escape during an operation."""
        if not self.is_open:
            return AwaitComplete()
        while self.app.screen is not self:
            self.app.pop_screen()
        return super().dismiss(result)

    def action_close(self) -> None:
        """Close it without a result."""
        self.dismiss(None)


def status(state: AppState, *, readonly: bool, slow: bool) -> tuple[StatusText, ...]:
    """Status for the top bar."""
    parts: list[StatusText] = []
    if state.problem:
        parts.append(StatusText("! not up to date  ", Tone.BAD))
    if readonly:
        parts.append(StatusText("read-only  ", Tone.ACCENT))
    if slow:
        parts.append(StatusText("slow link  ", Tone.DIM))
    if state.supervisor.paused:
        parts.append(StatusText("paused  ", Tone.WARN))
    tally = state.tally
    if tally.running or tally.waiting:
        parts.append(StatusText(f"{tally.running} running " if tally.running else "", Tone.BUSY))
        parts.append(StatusText(f"{tally.waiting} waiting " if tally.waiting else "", Tone.DIM))
    return tuple(parts)


class StartScreen(Screen[object]):
    """The screen until cards and runs have been read."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._first = mode

    def compose(self) -> ComposeResult:
        """The bars, and a message between them."""
        yield TopBar(self._first)
        yield StyledText([line(Span(" Reading the cards ...", Tone.DIM))], id="body")
        yield KeyLine()
