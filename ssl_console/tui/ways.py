"""Ways between screens: to a run, a result, a pair, a suite, or an action of another screen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.wire import LeanApp

if TYPE_CHECKING:
    from ssl_console.result import Result
    from ssl_console.tui.screens.live import LiveScreen
    from ssl_console.tui.screens.plan import PlanScreen
    from ssl_console.tui.screens.result import ResultScreen
    from ssl_console.tui.state import World


class Ways(LeanApp[int]):
    """The part of the app that goes from one screen to another."""

    world: World

    @abstractmethod
    def change(self, world: World) -> None:
        """Another world."""

    @abstractmethod
    def hurry(self) -> None:
        """Look at the files now."""

    @abstractmethod
    def say(self, message: str) -> None:
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
        from ssl_console.tui.core import Order  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.launch import LaunchSheet  # noqa: PLC0415

        preset = result.variant.partition("+")[0]
        order = Order(((result.backbone, result.task),), (result.seed,), preset, again=True)
        self.push_screen(LaunchSheet(order), lambda started: self.hurry() if started else None)

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
        self.say(f"Copied: {first}" + (" ..." if "\n" in text.strip() else ""))
