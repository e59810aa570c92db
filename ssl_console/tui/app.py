"""The app: its list of screens, its state, themes, and its start and end.

The first frame requires only Textual. Cards, runs, results and the modules that read them are loaded afterwards.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.segment import Segments
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import Worker, WorkerFailed, WorkerState, get_current_worker

from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import ScreenEntry, host
from ssl_console.tui.keys import APP, TITLES, bindings, changing_actions, declare
from ssl_console.tui.palette_commands import ConsoleCommands, FindPalette
from ssl_console.tui.screens.base import ConsoleScreen, StartScreen
from ssl_console.tui.screens.navigation import Adding
from ssl_console.tui.style import glyphs
from ssl_console.tui.style.palette import DARK, LIGHT, Palette, RenderContext, ThemedStylesheet
from ssl_console.tui.terminal.colour_depth import ColourDepth
from ssl_console.tui.terminal.driver import (
    LinkSpeed,
    crash_panel,
    exit_within_timeout,
    longest_write_s,
    on_hangup_or_termination,
    pending_writes,
    write_traceback,
)

if TYPE_CHECKING:
    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.catalog import Catalog
    from ssl_console.tui.data.poller import PollThread
    from ssl_console.tui.data.state import AppState, Pair, Preferences, StateUpdate

Answer = TypeVar("Answer")

MOST_CHECKED = 2000  # pairs checked for out-of-date results at the start
SWITCH_DELAY_S = 0.005
THEMES = (DARK.name, LIGHT.name, "textual-dark", "nord", "solarized-light")


@dataclass(frozen=True)
class AppOptions:
    """Options for opening the console."""

    readonly: bool = False
    slow: bool = False
    ascii_only: bool | None = None
    mode: str = "plan"
    suite: str | None = None


SCREENS = (
    ScreenEntry("plan", "1", "Plan", "Measured and missing results; choose and launch", ".plan:PlanScreen"),
    ScreenEntry("live", "2", "Live", "The runs: progress, curves, logs, devices", ".live:LiveScreen"),
    ScreenEntry("rankings", "3", "Rankings", "The ranking tables", ".rankings:RankingsScreen"),
    ScreenEntry("compare", "4", "Compare", "Two or more backbones side by side", ".compare:CompareScreen"),
    ScreenEntry("result", "5", "Result", "Everything about one result", ".result:ResultScreen"),
    ScreenEntry("training", "6", "Training", "Watched trainings: transfer against step", ".training:TrainingScreen"),
)
"""Every screen, in the order of the tabs. A screen's module is imported when the screen is first shown."""
declare("app", TITLES["app"], (*(entry.key for entry in SCREENS), *APP))


class ConsoleApp(Adding):
    """The console."""

    TITLE = "ssl-console"
    CSS_PATH = "console.tcss"
    BINDINGS: ClassVar = bindings("app")
    MODES: ClassVar = {entry.name: entry.open for entry in SCREENS}
    COMMANDS: ClassVar = {ConsoleCommands}
    screens: Sequence[ScreenEntry] = SCREENS

    backend: Backend
    """Set when `started`, as are `preferences` and `state`."""
    preferences: Preferences
    state: AppState
    _poll_thread: PollThread

    class Updated(Message):
        """A poll of the workspace found changes."""

        def __init__(self, update: StateUpdate) -> None:
            self.update = update
            super().__init__()

    def __init__(
        self,
        make_backend: Callable[[], Backend],
        options: AppOptions | None = None,
        keymap: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.options = options or AppOptions()
        self.readonly, self.slow = self.options.readonly, self.options.slow
        self.clock: Callable[[], float] = time.time
        self.started = False
        """Whether the first screen has replaced the start screen."""
        self.first_update_done = False
        """Whether runs and results have been read once."""
        self._make_backend = make_backend
        self._glyphs = glyphs.choose(self.options.ascii_only)
        self.screen_buffer.ascii_only = self._glyphs is glyphs.ASCII
        self._render_context: tuple[Theme, RenderContext] | None = None
        self._stale_checked = False
        self._prepared = False
        self._preferences_lock = Lock()
        self._link_speed = LinkSpeed(self.slow, fixed=self.slow)
        self.animation_level = "none"
        self.user_keys = keymap or {}
        self.set_keymap(self.user_keys)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name
        self.stylesheet = ThemedStylesheet(variables=self.get_css_variables())

    @property
    def render_context(self) -> RenderContext:
        """Palette and glyphs in use."""
        theme = self.current_theme
        if self._render_context is None or self._render_context[0] is not theme:
            depth = ColourDepth.of(self.console.color_system)
            self._render_context = theme, RenderContext(Palette.of(theme, depth), self._glyphs)
        return self._render_context[1]

    # -- start and end ------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[object]:
        """Start screen, shown until the workspace has been read."""
        return StartScreen(self.options.mode)

    def on_mount(self) -> None:
        """Show the start screen, then load the modules that read the workspace."""
        on_hangup_or_termination(self._leave)
        self.call_after_refresh(self.in_background, self._load, self._begin, group="start")

    def _load(self) -> tuple[Backend, Preferences]:
        next(entry for entry in self.screens if entry.name == self.options.mode).load()
        import_module("ssl_console.tui.data.poller")
        backend = self._make_backend()
        return backend, backend.preferences()

    def _begin(self, loaded: tuple[Backend, Preferences]) -> None:
        from ssl_console.tui.data.poller import PollThread  # noqa: PLC0415 - loaded after the first picture
        from ssl_console.tui.data.state import AppState  # noqa: PLC0415

        backend, self.preferences = loaded
        if self.preferences.theme in self.available_themes:
            self.theme = self.preferences.theme
        suite = self.preferences.suite if self.options.suite is None else self.options.suite
        self.backend, self.started = backend, True
        self.state = AppState(suite=suite or None, opening=None if suite is None else "")
        self._poll_thread = PollThread(backend, lambda update: self.post_message(self.Updated(update)), slow=self.slow)
        self.show_screen(self.options.mode)
        self.reload_catalogue()
        self._poll_thread.start()

    def delay_update(self, delay: float = SWITCH_DELAY_S) -> None:
        """Delay drawing while a screen changes, for less time than Textual would."""
        super().delay_update(min(delay, SWITCH_DELAY_S))

    def reload_catalogue(self) -> None:
        """Read the cards again, and the presence of weights and data."""
        self.in_background(self.backend.catalogue, self.set_catalogue, group="catalogue")

    def set_catalogue(self, catalogue: Catalog) -> None:
        """Show the cards as they are now."""
        self.set_state(self._opened(replace(self.state, catalogue=catalogue)))
        self._check_stale()
        self._prepare_rankings()

    def _opened(self, state: AppState) -> AppState:
        """The state with the tasks that Plan opens on, once cards and runs have been read."""
        return state.opened() if self.first_update_done and state.catalogue.backbones else state

    def _prepare_rankings(self) -> None:
        """Rank once in a thread, so that the rankings open without a delay."""
        state, glyph_set = self.state, self._glyphs

        def prepare() -> None:
            import_module("ssl_console.tui.screens.rankings")
            import_module("ssl_console.tui.views.ranking_details").initial_table(state, glyph_set)

        def freeze(_: None) -> None:
            self.prepare_screen("rankings")
            gc.freeze()  # what has been read so far lives as long as the console: collecting it would delay key presses

        if state.results and not self._prepared:
            self._prepared = True
            self.in_background(prepare, freeze, group="prepare")

    def _check_stale(self) -> None:
        """Find out-of-date results, once cards and results have been read. Later results are up to date."""
        catalogue, backend = self.state.catalogue, self.backend
        measured = {(result.backbone, result.task) for result in self.state.results if result.source == "mine"}
        pairs = [pair for pair in sorted(measured) if pair[0] in catalogue.backbone and pair[1] in catalogue.task]
        if pairs and not self._stale_checked:
            self._stale_checked = True

            def show(stale: Mapping[Pair, str]) -> None:
                if stale:
                    self.set_state(replace(self.state, stale=stale))

            self.in_background(lambda: backend.stale(pairs[:MOST_CHECKED], None), show, group="stale")

    def _leave(self, code: int) -> None:
        self.signal_code = code
        exit_within_timeout(code)
        self.exit(code)

    def on_unmount(self) -> None:
        """Stop polling; runs continue."""
        if self.started:
            self._poll_thread.stop()

    def _handle_exception(self, error: Exception) -> None:
        """Ignore missing widgets after `exit`, when Textual mounts no more widgets of a screen under construction,
        and in searches of the command palette that continue after it was closed.
        """
        cause = error.error if isinstance(error, WorkerFailed) else error
        closed = self._exit or (cause is not error and not isinstance(self.screen, CommandPalette))
        if not (closed and isinstance(cause, NoMatches)):
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Show a crash as a panel on the normal screen, and write the traceback to a file."""
        error = self._exception or RuntimeError("unknown")
        folders = [self.backend.session.workspace.root] if self.started and not self.readonly else []
        panel = crash_panel(error, write_traceback(error, folders))
        self._exit_renderables.append(Segments(self.console.render(panel, self.console.options)))
        self._close_messages_no_wait()

    # -- state --------------------------------------------------------------------------------------------------

    def on_console_app_updated(self, message: Updated) -> None:
        """Merge the update into the state, and show it."""
        self.first_update_done, before = True, self.state
        self.set_state(self._opened(self.state.after(message.update)))
        self.note_changes(before, self.state)
        self._poll_thread.acknowledge()
        self._adapt_to_link_speed()
        if message.update.results is not None and self.state.catalogue.backbones:
            self._check_stale()
            self._prepare_rankings()

    def _adapt_to_link_speed(self) -> None:
        """Poll less often while output accumulates before a slow terminal."""
        slow = self._link_speed.observe(pending_writes(self._driver), longest_write_s(self._driver))
        if slow != self.slow:
            self.slow = slow
            self._poll_thread.slow_down(slow)
            self.notify_user(
                "Slow connection: polling less often."
                if slow
                else "The connection is fast again: polling at the usual rate."
            )

    def set_state(self, state: AppState) -> None:
        """Replace the state, and redraw the screen in front."""
        before, self.state = self.state, state
        base = self.screen_stack[0] if self.screen_stack else None
        if isinstance(base, ConsoleScreen) and base.is_mounted and base.concerned_by(before, state):
            base.refresh_view()

    def choose_suite(self, name: str | None) -> None:
        """Show the tasks of one suite, or of all, and store the choice for the next start."""
        self.set_state(replace(self.state, suite=name, opening=""))
        self.save_preferences(replace(self.preferences, suite=name or ""))

    def save_preferences(self, preferences: Preferences) -> None:
        """Apply these preferences and store them for the next start."""
        self.preferences = preferences

        def write() -> None:
            with self._preferences_lock:  # always the newest, one at a time: an older write cannot end last
                self.backend.save_preferences(self.preferences)

        if not self.readonly:
            self.in_background(write, lambda _: None, group="preferences")

    def poll_now(self) -> None:
        """Poll the workspace now, after a request of the user."""
        self._poll_thread.poll_now()

    def in_background(self, work: Callable[[], Answer], then: Callable[[Answer], None], *, group: str) -> None:
        """Run `work` in a thread, then `then` with its result on the event loop; within a group, only the newest is
        completed.
        """
        job = partial(self._work, work, then)
        self.run_worker(job, thread=True, exclusive=True, group=group, exit_on_error=False)

    def _work(self, work: Callable[[], Answer], then: Callable[[Answer], None]) -> None:
        worker = get_current_worker()
        try:
            answer = work()
        except (ConsoleError, OSError) as error:
            if not worker.is_cancelled:
                self.call_from_thread(self.show_problem, "Operation failed", str(error))
            return
        if not worker.is_cancelled:
            self.call_from_thread(then, answer)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show an unexpected error of a thread."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            self.show_problem("Unexpected error", f"{type(error).__name__}: {error}. Runs are not affected.")

    def show_problem(self, title: str, message: str) -> None:
        """Show a problem as a panel."""
        from ssl_console.tui.screens.dialogs import ProblemDialog  # noqa: PLC0415 - loaded when it is needed

        self.push_screen(ProblemDialog(title, message))

    def notify_user(self, message: str) -> None:
        """Show a short notification; its text is never parsed as markup."""
        self.notify(message, markup=False, timeout=4)

    # -- actions ------------------------------------------------------------------------------------------------

    def action_mode(self, mode: str) -> None:
        """Show another screen; before the first one is shown, select the first one."""
        if not self.started:
            self.options = replace(self.options, mode=mode)
        elif isinstance(self.screen, ConsoleScreen):
            self.show_screen(mode)

    def action_out(self) -> None:
        """Leave the innermost layer: a dialog, a filter, a zoomed pane."""
        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            screen.go_back()
        elif len(self.screen_stack) > 1:
            self.pop_screen()

    def action_help(self) -> None:
        from ssl_console.tui.screens.dialogs import (  # noqa: PLC0415 - loaded when it is needed
            HelpDialog,
            scopes_of,
            situation,
        )

        screen: Screen[object] = self.screen
        about = [screen.pane_help] if isinstance(screen, ConsoleScreen) else []
        about += [text for text in (getattr(screen, "HELP_TEXT", ""),) if text]
        here = situation(host(screen), self.theme) if self.started and about else ()
        self.push_screen(HelpDialog((*about, *here), scopes_of(screen), self.user_keys))

    def action_command_palette(self) -> None:
        if self.started and not isinstance(self.screen, CommandPalette):
            from ssl_console.tui.widgets.inputs import stop_cursor_blink  # noqa: PLC0415 - loads what is typed in

            palette = FindPalette()
            self.push_screen(palette)
            self.call_after_refresh(stop_cursor_blink, palette)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Disable the actions that change the workspace with `--readonly`."""
        return not (self.readonly and action in changing_actions())

    def action_theme(self) -> None:
        """Choose a theme, previewed while the cursor is on it."""
        from ssl_console.tui.screens.choosers import ThemeDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and not isinstance(self.screen, ThemeDialog):
            names = [name for name in THEMES if name in self.available_themes]
            self.push_screen(
                ThemeDialog(names, self.theme),
                lambda name: self.save_preferences(replace(self.preferences, theme=name)) if name else None,
            )

    def watch_theme(self) -> None:
        """Redraw every widget: those drawn line by line read the theme while drawing."""
        for screen in self.screen_stack if self._running else ():
            for widget in screen.query("*"):
                widget.refresh()
