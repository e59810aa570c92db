"""The app: modes, themes, the feed, and what happens at the end. What a screen shows is the screens' business.

The first picture needs nothing but Textual. Cards, runs, results and the modules that read them come after it.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from rich.segment import Segments
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import Worker, WorkerState, get_current_worker

from ssl_console.system.errors import ConsoleError
from ssl_console.tui.keys import bindings, changing_actions
from ssl_console.tui.palette_commands import ConsoleCommands
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.start import StartScreen
from ssl_console.tui.style import glyphs, themes
from ssl_console.tui.style.palette import Palette, RenderContext
from ssl_console.tui.terminal.cell_diff import DiffingApp
from ssl_console.tui.terminal.driver import LinkSpeed, exit_within_timeout, longest_write_s, pending_writes

if TYPE_CHECKING:
    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.catalog import Catalog
    from ssl_console.tui.data.poller import PollThread
    from ssl_console.tui.data.state import AppState, Pair, Preferences, StateUpdate
    from ssl_console.tui.screens.live import LiveScreen
    from ssl_console.tui.screens.plan import PlanScreen
    from ssl_console.tui.screens.result import ResultScreen
    from ssl_console.workspace.result import Result


class Navigation(DiffingApp[int]):
    """The part of the app that goes from one screen to another."""

    state: AppState

    @abstractmethod
    def set_state(self, state: AppState) -> None:
        """Another world."""

    @abstractmethod
    def poll_now(self) -> None:
        """Look at the files now."""

    @abstractmethod
    def notify_user(self, message: str) -> None:
        """A passing remark."""

    def open_run(self, run_id: str) -> None:
        """Show a run in Live."""
        self._show("live", lambda screen: cast("LiveScreen", screen).go_to(run_id))

    def open_result(self, run_id: str, among: tuple[str, ...] = ()) -> None:
        """Show everything about a result; `among` are those that next and previous step through."""
        self._show("result", lambda screen: cast("ResultScreen", screen).open(run_id, among))

    def go_to_pair(self, backbone: str | None, task: str | None) -> None:
        """Put Plan's cursor on a backbone, a task or both."""
        self._show("plan", lambda screen: cast("PlanScreen", screen).go_to(backbone, task))

    def act_in(self, mode: str, action: str) -> None:
        """Go to a screen and do there what one of its keys does."""
        self._show(mode, lambda screen: self.call_later(self.run_action, action, screen))

    def measure_again(self, result: Result) -> None:
        """Plan the same measurement once more."""
        from ssl_console.tui.data.backend import LaunchRequest  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.launch import LaunchDialog  # noqa: PLC0415

        preset = result.variant.partition("+")[0]
        request = LaunchRequest(((result.backbone, result.task),), (result.seed,), preset, again=True)
        self.push_screen(LaunchDialog(request), lambda started: self.poll_now() if started else None)

    def _show(self, mode: str, then: Callable[[ConsoleScreen], object]) -> None:
        """Go to a screen, and do something there once it is up."""

        def arrived() -> None:
            screen = self.screen_stack[0]
            if isinstance(screen, ConsoleScreen) and mode == screen.MODE:
                then(screen)

        self.switch_mode(mode)
        self.call_after_refresh(arrived)

    def copy(self, text: str) -> None:
        """To the terminal's clipboard (OSC 52, through SSH too), and say what was copied."""
        self.copy_to_clipboard(text)
        first = text.splitlines()[0] if text else ""
        self.notify_user(f"Copied: {first}" + (" ..." if "\n" in text.strip() else ""))


Answer = TypeVar("Answer")

MOST_CHECKED = 2000
"""Results whose being up to date is looked into at the start."""
SWITCH_DELAY_S = 0.005
PALETTE_HINT = "an action, a backbone, a task, a suite or a run"
THEMES = (themes.DARK.name, themes.LIGHT.name, "textual-dark", "nord", "solarized-light")


@dataclass(frozen=True)
class AppOptions:
    """How the console is opened."""

    readonly: bool = False
    slow: bool = False
    ascii_only: bool | None = None
    mode: str = "plan"
    suite: str | None = None


def _screen(name: str) -> Callable[[], ConsoleScreen]:
    """A screen of `ssl_console.tui.screens`, loaded when it is first shown."""

    def make() -> ConsoleScreen:
        module = import_module(f"ssl_console.tui.screens.{name}")
        return cast("type[ConsoleScreen]", getattr(module, f"{name.capitalize()}Screen"))()

    return make


class ConsoleApp(Navigation):
    """The console."""

    TITLE = "ssl-console"
    CSS_PATH = "console.tcss"
    BINDINGS: ClassVar = bindings("app")
    MODES: ClassVar = {name: _screen(name) for name in ("plan", "live", "rankings", "compare", "result", "training")}
    COMMANDS: ClassVar = {ConsoleCommands}

    backend: Backend
    """From `begun` on."""
    preferences: Preferences
    """From `begun` on."""
    _poll_thread: PollThread

    class Updated(Message):
        """News from the feed."""

        def __init__(self, news: StateUpdate) -> None:
            self.news = news
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
        """Whether the first screen has taken the place of the start picture."""
        self.first_update_done = False
        """Whether runs and results have been read once."""
        self._make_backend = make_backend
        self._glyphs = glyphs.choose(self.options.ascii_only)
        self.screen_buffer.ascii_only = self._glyphs is glyphs.ASCII
        self._render_context: tuple[Theme, RenderContext] | None = None
        self._stale_checked = False
        self._prepared = False
        self._link_speed = LinkSpeed(self.slow, fixed=self.slow)
        self.animation_level = "none"
        self.user_keys = keymap or {}
        self.set_keymap(self.user_keys)
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = themes.DARK.name

    @property
    def render_context(self) -> RenderContext:
        """How things are drawn now."""
        theme = self.current_theme
        if self._render_context is None or self._render_context[0] is not theme:
            few = self.console.color_system in {"256", "standard"}
            self._render_context = theme, RenderContext(Palette.of(theme, few_colours=few), self._glyphs)
        return self._render_context[1]

    # -- beginning and end --------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[object]:
        """The picture before anything has been read."""
        return StartScreen(self.options.mode)

    def on_mount(self) -> None:
        """Show something at once, then load what reads the workspace."""
        self._leave_on_signals()
        self.call_after_refresh(self.in_background, self._load, self._begin, group="start")

    def _load(self) -> tuple[Backend, Preferences]:
        import_module(f"ssl_console.tui.screens.{self.options.mode}")
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
        self.backend, self.state, self.started = (
            backend,
            AppState(suite=suite or None, opening=None if suite is None else ""),
            True,
        )
        self._poll_thread = PollThread(backend, lambda news: self.post_message(self.Updated(news)), slow=self.slow)
        self.switch_mode(self.options.mode)
        self.reload_catalogue()
        self._poll_thread.start()

    def delay_update(self, delay: float = SWITCH_DELAY_S) -> None:
        """Hold the drawing back while a screen changes: for less long than Textual would."""
        super().delay_update(min(delay, SWITCH_DELAY_S))

    def reload_catalogue(self) -> None:
        """Read the cards again, and which weights and data are there."""
        self.in_background(self.backend.catalogue, self._take_catalogue, group="catalogue")

    def _take_catalogue(self, catalogue: Catalog) -> None:
        self.set_state(self._opened(replace(self.state, catalogue=catalogue)))
        self._check_stale()
        self._prepare_rankings()

    def _opened(self, state: AppState) -> AppState:
        """With the tasks that Plan opens on, as soon as cards and runs are known."""
        return state.opened() if self.first_update_done and state.catalogue.backbones else state

    def _prepare_rankings(self) -> None:
        """Rank once in a thread, so that the first look at the rankings need not wait for it."""
        state, signs = self.state, self._glyphs

        def prepare() -> None:
            import_module("ssl_console.tui.screens.rankings").initial_table(state, signs)

        if state.results and not self._prepared:
            self._prepared = True
            self.in_background(prepare, self._take_prepared, group="prepare")

    def _take_prepared(self, _: None) -> None:
        """What has been read lives as long as the console: searching it for garbage again would hold up the keys."""
        self._build("rankings")
        gc.freeze()

    def _build(self, mode: str) -> None:
        """Make a screen before it is asked for, in an idle moment; it draws nothing until it is in front.

        Its widgets are styled as they are mounted, by the rules of now: Textual would parse all rules again when it
        first comes to the front.
        """
        if mode not in self._screen_stacks:
            self._init_mode(mode)
            self._screen_stacks[mode][0]._css_update_count = self._css_update_count

    def _check_stale(self) -> None:
        """Once cards and results are known: which results no longer count. New ones are up to date by themselves."""
        known, backend = self.state.catalogue, self.backend
        pairs = {(result.backbone, result.task) for result in self.state.results if result.source == "mine"}
        wanted = [pair for pair in sorted(pairs) if pair[0] in known.backbone and pair[1] in known.task]
        if wanted and not self._stale_checked:
            self._stale_checked = True
            self.in_background(lambda: backend.stale(wanted[:MOST_CHECKED], None), self._take_stale, group="stale")

    def _take_stale(self, stale: Mapping[Pair, str]) -> None:
        if stale:
            self.set_state(replace(self.state, stale=stale))

    def _leave_on_signals(self) -> None:
        """A closed terminal or a request to end: without this an orphaned app would spin."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._leave, 128 + number)

    def _leave(self, code: int) -> None:
        exit_within_timeout(code)
        self.exit(code)

    def on_unmount(self) -> None:
        """Stop looking; runs go on."""
        if self.started:
            self._poll_thread.stop()

    def _handle_exception(self, error: Exception) -> None:
        """After `exit`, Textual mounts nothing any more: a screen that is just being built stays without its widgets,
        and misses them. That is no mistake.
        """
        if not (self._exit and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """A mistake of the console's own: a panel on the normal screen, and the traceback in a file."""
        from ssl_console.tui.terminal.crash_report import crash_panel, keep_traceback  # noqa: PLC0415 - loaded when it is needed

        error = self._exception or RuntimeError("unknown")
        folders = [self.backend.root] if self.started and not self.readonly else []
        panel = crash_panel(error, keep_traceback(error, folders))
        self._exit_renderables.append(Segments(self.console.render(panel, self.console.options)))
        self._close_messages_no_wait()

    # -- the world ----------------------------------------------------------------------------------------------

    def on_console_app_updated(self, message: Updated) -> None:
        """Take news in and show them."""
        self.first_update_done = True
        self.set_state(self._opened(self.state.after(message.news)))
        self._poll_thread.taken()
        self._adapt_to_link_speed()
        if message.news.results is not None and self.state.catalogue.backbones:
            self._check_stale()
            self._prepare_rankings()

    def _adapt_to_link_speed(self) -> None:
        """Look less often while what is drawn piles up before a slow terminal."""
        slow = self._link_speed.observe(pending_writes(self._driver), longest_write_s(self._driver))
        if slow != self.slow:
            self.slow = slow
            self._poll_thread.slow_down(slow)
            self.notify_user(
                "The connection is slow: looking less often."
                if slow
                else "The connection is fast again: looking as often as usual."
            )

    def set_state(self, state: AppState) -> None:
        """Another world; only the screen in front draws it."""
        self.state = state
        base = self.screen_stack[0] if self.screen_stack else None
        if isinstance(base, ConsoleScreen) and base.is_mounted:
            base.refresh_view()

    def choose_suite(self, name: str | None) -> None:
        """Show the tasks of one suite, or of all, now and when the console is opened again."""
        self.set_state(replace(self.state, suite=name, opening=""))
        self._keep(replace(self.preferences, suite=name or ""))

    def _keep(self, preferences: Preferences) -> None:
        self.preferences = preferences
        if not self.readonly:
            backend = self.backend
            self.in_background(lambda: backend.save_preferences(preferences), lambda _: None, group="habits")

    def poll_now(self) -> None:
        """Look at the files now: something was just asked for."""
        self._poll_thread.poll_now()

    def in_background(self, work: Callable[[], Answer], then: Callable[[Answer], None], *, group: str) -> None:
        """Do something slow in a thread, then something with its answer here; the latest of a group wins."""
        job = partial(self._work, work, then)
        self.run_worker(job, thread=True, exclusive=True, group=group, exit_on_error=False)

    def _work(self, work: Callable[[], Answer], then: Callable[[Answer], None]) -> None:
        worker = get_current_worker()
        try:
            answer = work()
        except (ConsoleError, OSError) as error:
            if not worker.is_cancelled:
                self.call_from_thread(self.show_problem, "That did not work", str(error))
            return
        if not worker.is_cancelled:
            self.call_from_thread(then, answer)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A mistake of the console's own in a thread is shown too, never swallowed."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            self.show_problem("The console made a mistake", f"{type(error).__name__}: {error}. Runs are not affected.")

    def show_problem(self, title: str, message: str) -> None:
        """Show a problem as a panel."""
        from ssl_console.tui.screens.dialogs import ProblemDialog  # noqa: PLC0415 - loaded when it is needed

        self.push_screen(ProblemDialog(title, message))

    def notify_user(self, message: str) -> None:
        """A passing remark; never parsed as markup."""
        self.notify(message, markup=False, timeout=4)

    # -- actions ------------------------------------------------------------------------------------------------

    def action_mode(self, mode: str) -> None:
        """Go to another screen; one that is asked for before the first has come is the first."""
        if not self.started:
            self.options = replace(self.options, mode=mode)
        elif isinstance(self.screen, ConsoleScreen):
            self.switch_mode(mode)

    def action_out(self) -> None:
        """One layer out: a sheet, a filter, a zoomed pane."""
        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            screen.go_back()
        elif len(self.screen_stack) > 1:
            self.pop_screen()

    def action_help(self) -> None:
        """What the keys do here."""
        from ssl_console.tui.screens.dialogs import HelpDialog, scopes_of  # noqa: PLC0415 - loaded when it is needed

        screen: Screen[object] = self.screen
        about = (screen.pane_help, screen.HELP_TEXT) if isinstance(screen, ConsoleScreen) else ()
        self.push_screen(HelpDialog(about, scopes_of(screen), self.user_keys))

    def action_command_palette(self) -> None:
        """Find anything."""
        if self.started and not isinstance(self.screen, CommandPalette):
            from ssl_console.tui.widgets.filter_bar import stop_cursor_blink  # noqa: PLC0415 - loads what is typed in

            palette = CommandPalette(id="--command-palette", placeholder=PALETTE_HINT)
            self.push_screen(palette)
            self.call_after_refresh(stop_cursor_blink, palette)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Nothing that changes the workspace with `--readonly`."""
        return not (self.readonly and action in changing_actions())

    def action_add_backbone(self) -> None:
        """Add a checkpoint of the user's own."""
        from ssl_console.tui.screens.add_backbone import AddBackboneDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and isinstance(self.screen, ConsoleScreen):
            self.push_screen(AddBackboneDialog(), lambda name: self.reload_catalogue() if name else None)

    def action_next_theme(self) -> None:
        """Another theme."""
        names = [name for name in THEMES if name in self.available_themes]
        place = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(place + 1) % len(names)]
        if self.started:
            self._keep(replace(self.preferences, theme=self.theme))

    def watch_theme(self) -> None:
        """Widgets that draw by the line look at the theme when they are drawn: draw them all again."""
        for screen in self.screen_stack if self._running else ():
            for widget in screen.query("*"):
                widget.refresh()
