"""Protocol of the app for screens and widgets, and the list of screens, so that none of them imports the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, runtime_checkable

from ssl_console.tui.keys import Key, declare

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.state import AppState, Preferences
    from ssl_console.tui.style.palette import RenderContext
    from ssl_console.workspace.result import Result

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ScreenEntry:
    """An entry in the app's list of screens: its tab, which is drawn before any screen is imported, and the path of
    its class.
    """

    name: str
    """`MODE` of the class."""
    number: str
    """Digit that opens it."""
    title: str
    help: str
    path: str
    """`module:class`; a module that begins with a dot is one of `ssl_console.tui.screens`."""

    @property
    def key(self) -> Key:
        """The key that opens it."""
        return Key(self.name, self.number, f"mode('{self.name}')", self.title, self.help, footer=False)

    def load(self) -> type[Screen[None]]:
        """Import the class, and add its keys to the table."""
        module, _, name = self.path.partition(":")
        screen = getattr(import_module(module, "ssl_console.tui.screens"), name)
        if self.name != screen.MODE:
            raise ValueError(f"{self.path} has MODE {screen.MODE!r}, and is listed as {self.name!r}: make them equal")
        declare(self.name, self.title, screen.KEYS)
        return cast("type[Screen[None]]", screen)

    def open(self) -> Screen[None]:
        """A new screen."""
        return self.load()()


class Host(Protocol):
    """The services of the app for its screens."""

    screens: Sequence[ScreenEntry]
    state: AppState
    preferences: Preferences
    readonly: bool
    slow: bool
    clock: Callable[[], float]
    user_keys: Mapping[str, str]

    @property
    def backend(self) -> Backend:
        """The backend; set before the first screen opens."""
        ...

    @property
    def render_context(self) -> RenderContext:
        """Palette and glyphs in use."""
        ...

    def set_state(self, state: AppState) -> None:
        """Replace the state, and redraw the screen in front."""
        ...

    def save_preferences(self, preferences: Preferences) -> None:
        """Apply these preferences and store them for the next start."""
        ...

    def undoable(self, text: str, undo: Callable[[], object]) -> None:
        """Register a change that `undo` reverts; `text` is a noun phrase."""
        ...

    def show_screen(self, name: str) -> None:
        """Go to a screen."""
        ...

    def choose_suite(self, name: str | None) -> None:
        """Show the tasks of one suite, or of all."""
        ...

    def in_background(self, work: Callable[[], Answer], then: Callable[[Answer], None], *, group: str) -> None:
        """Run `work` in a thread, then `then` with its result on the event loop; the newest of a group wins."""
        ...

    def poll_now(self) -> None:
        """Poll the workspace now."""
        ...

    def reload_catalogue(self) -> None:
        """Read the cards again."""
        ...

    def notify_user(self, message: str) -> None:
        """Show a short notification."""
        ...

    def show_problem(self, title: str, message: str) -> None:
        """Show a problem as a panel."""
        ...

    def copy(self, text: str, message: str = "") -> None:
        """Copy to the terminal's clipboard, and show `message` or what was copied."""
        ...

    def open_run(self, run_id: str) -> None:
        """Show a run in Live."""
        ...

    def open_result(self, run_id: str, among: tuple[str, ...] = ()) -> None:
        """Show a result; `among` is the list for the next and previous actions."""
        ...

    def go_to_pair(self, backbone: str | None, task: str | None) -> None:
        """Put Plan's cursor on a backbone, a task or both."""
        ...

    def act_in(self, mode: str, action: str) -> None:
        """Go to a screen and run one of its actions."""
        ...

    def measure_again(self, result: Result) -> None:
        """Open the launch dialog for the same measurement again."""
        ...


@runtime_checkable
class Refreshable(Protocol):
    """A screen that draws the app's state and has layers to leave, as seen by its widgets."""

    def go_back(self) -> bool:
        """Leave the innermost layer; False when there is none."""
        ...

    def refresh_view(self) -> None:
        """Draw the current state."""
        ...


@runtime_checkable
class HasPlaces(Protocol):
    """A screen whose rows and columns are listed in the palette."""

    def places(self) -> Iterable[tuple[str, str, Callable[[], object]]]:
        """Kind and name of each place, and the function that moves the cursor there."""
        ...


def host(widget: Widget) -> Host:
    """The app that a screen or widget is in."""
    return cast("Host", widget.app)
