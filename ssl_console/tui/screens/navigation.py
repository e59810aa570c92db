"""Navigation between screens, undo, and addition of the user's own backbones and datasets."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

from ssl_console.tui.host import ScreenEntry, host
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.terminal.cell_diff import DiffingApp
from ssl_console.tui.terminal.driver import alert, attention

if TYPE_CHECKING:
    from textual.binding import ActiveBinding

    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.catalog import Catalog
    from ssl_console.tui.data.state import AppState, Pair
    from ssl_console.tui.screens.live import LiveScreen
    from ssl_console.tui.screens.plan import PlanScreen
    from ssl_console.tui.screens.result import ResultScreen
    from ssl_console.workspace.result import Result

CHANGES_KEPT = 100
"""Maximum number of changes that can be undone."""


class Navigation(DiffingApp[int]):
    """Part of the app that switches between screens."""

    screens: Sequence[ScreenEntry]
    backend: Backend

    @cached_property
    def undo_history(self) -> UndoHistory:
        """The user's last changes."""
        return UndoHistory()

    @abstractmethod
    def poll_now(self) -> None:
        """Poll the workspace now."""

    @abstractmethod
    def notify_user(self, message: str) -> None:
        """Show a short notification."""

    @abstractmethod
    def reload_catalogue(self) -> None:
        """Read the cards again, and the presence of weights."""

    def note_changes(self, before: AppState, now: AppState) -> None:
        """Notify about ended downloads, and alert the user when a run has failed or the queue has ended."""
        ended = [one for name, one in now.downloads.items() if not one.active and before.downloads.get(name) != one]
        for one in ended:
            self.notify_user(f"{str(one)[:1].upper()}{str(one)[1:]}")
        if any(one.state == "done" for one in ended):
            self.reload_catalogue()
        text = attention(before.tally, now.tally) if before.runs and now.runs is not before.runs else ""
        sequence = alert(self.backend.session.config.notifications.terminal, text) if text else ""
        if sequence and self._driver is not None:
            self._driver.write(sequence)

    def undoable(self, text: str, undo: Callable[[], object]) -> None:
        """Register a change that `undo` reverts."""
        self.undo_history.add(text, undo)

    def action_undo(self) -> None:
        undone = self.undo_history.undo()
        self.notify_user(f"Undone: {undone}." if undone else "Nothing to undo.")

    def action_edit(self) -> None:
        """Choose a file for the editor or the pager."""
        from ssl_console.tui.screens.choosers import PickDialog  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.editing import general_targets, open_target  # noqa: PLC0415

        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            targets = {one.name: one for one in (*screen.edit_targets(), *general_targets(screen.state))}
            dialog = PickDialog("Open", [(name, name) for name in targets], None)
            self.push_screen(dialog, lambda name: open_target(self, host(screen), targets[name]) if name else None)

    def action_jump(self) -> None:
        """Show jump letters on panes and columns."""
        from ssl_console.tui.screens.key_dialogs import JumpDialog, jump_targets  # noqa: PLC0415 - loaded when it is needed

        if isinstance(self.screen, ConsoleScreen):
            self.push_screen(JumpDialog(jump_targets(self.screen)))

    def show_screen(self, name: str) -> None:
        """Go to a screen."""
        self.switch_mode(name)

    def prepare_screen(self, name: str) -> None:
        """Create a screen while the app is idle; it draws nothing until it is shown. Its widgets are styled when they
        are mounted: Textual is prevented from parsing all style rules again when the screen is first shown. The first
        switch to Rankings takes 0.3 (80x24) and 0.4 (120x40) of the time without it (`make bench ARGS=tui_privates`).

        A screen's timer of updates waits for a period of 17 ms when it is resumed for the first time: here already.
        """
        if name not in self._screen_stacks:
            self._init_mode(name)
            screen = self._screen_stacks[name][0]
            screen._css_update_count = self._css_update_count
            screen._update_timer.resume()

    def open_run(self, run_id: str) -> None:
        """Show a run in Live."""
        self._show("live", lambda screen: cast("LiveScreen", screen).go_to(run_id))

    def open_result(self, run_id: str, among: tuple[str, ...] = ()) -> None:
        """Show a result; `among` is the list for the next and previous actions."""
        self._show("result", lambda screen: cast("ResultScreen", screen).open(run_id, among))

    def go_to_pair(self, backbone: str | None, task: str | None) -> None:
        """Put Plan's cursor on a backbone, a task or both."""
        self._show("plan", lambda screen: cast("PlanScreen", screen).go_to(backbone, task))

    def action_more(self) -> None:
        """Show the keys that are not in the footer, and run the chosen one."""
        from ssl_console.tui.screens.key_dialogs import MoreKeysDialog, further_keys  # noqa: PLC0415 - loaded when needed

        def run(active: ActiveBinding | None) -> None:
            if active is not None:
                self.call_later(self.run_action, active.binding.action, active.node)

        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            self.push_screen(MoreKeysDialog(further_keys(screen)), run)

    def action_storage(self) -> None:
        """Show the disk space used by the workspace."""
        from ssl_console.tui.screens.dialogs import StorageDialog  # noqa: PLC0415 - loaded when it is needed

        if isinstance(self.screen, ConsoleScreen):
            self.push_screen(StorageDialog())

    def act_in(self, name: str, action: str) -> None:
        """Go to a screen and run one of its actions."""
        self._show(name, lambda screen: self.call_later(self.run_action, action, screen))

    def measure_again(self, result: Result) -> None:
        """Open the launch dialog for the same measurement again."""
        from ssl_console.tui.data.backend import LaunchRequest  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.launch import LaunchDialog  # noqa: PLC0415

        preset = result.variant.partition("+")[0]
        request = LaunchRequest(((result.backbone, result.task),), (result.seed,), preset, again=True)
        self.push_screen(LaunchDialog(request))

    def _show(self, name: str, then: Callable[[ConsoleScreen], object]) -> None:
        """Show a screen, then call a function on it."""

        def shown() -> None:
            screen = self.screen_stack[0]
            if isinstance(screen, ConsoleScreen) and name == screen.MODE:
                then(screen)

        self.show_screen(name)
        self.call_after_refresh(shown)

    def copy(self, text: str, message: str = "") -> None:
        """Copy to the terminal's clipboard (OSC 52, through SSH too), and notify."""
        self.copy_to_clipboard(text)
        first = text.splitlines()[0] if text else ""
        self.notify_user(message or f"Copied: {first}" + (" ..." if "\n" in text.strip() else ""))


class Adding(Navigation):
    """Part of the app that adds the user's own backbones and datasets."""

    backend: Backend
    state: AppState
    started: bool

    @abstractmethod
    def set_catalogue(self, catalogue: Catalog) -> None:
        """Show the cards as they are now."""

    @abstractmethod
    def in_background(self, work: Callable[[], Catalog], then: Callable[[Catalog], None], *, group: str) -> None:
        """Run `work` in a thread, then `then` with its result on the event loop."""

    def action_add_backbone(self) -> None:
        """Add a checkpoint of the user as a backbone."""
        from ssl_console.tui.screens.add import AddBackboneDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and isinstance(self.screen, ConsoleScreen):
            self.push_screen(AddBackboneDialog(), lambda name: self._added(name, ""))

    def action_add_dataset(self) -> None:
        """Add a dataset of the user."""
        from ssl_console.tui.screens.add_dataset import AddDatasetDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and isinstance(self.screen, ConsoleScreen):
            self.push_screen(AddDatasetDialog(), lambda name: self._added("", name))

    def _added(self, backbone: str | None, dataset: str | None) -> None:
        """Read the cards again, move Plan's cursor to the new row or column, and offer to evaluate it."""

        def show(catalogue: Catalog) -> None:
            self.set_catalogue(catalogue)
            task = next((one.name for one in catalogue.tasks if one.dataset.name == dataset), None)
            self.go_to_pair(backbone or None, task)
            self.call_after_refresh(self._offer, backbone, dataset)

        if backbone or dataset:
            self.in_background(self.backend.catalogue, show, group="catalogue")

    def _offer(self, backbone: str | None, dataset: str | None) -> None:
        """Offer an evaluation: of a backbone on the shown tasks, or of the shown backbones on a dataset."""
        from ssl_console.tui.screens.dialogs import ConfirmDialog  # noqa: PLC0415 - loaded when it is needed

        pairs = self._pairs_of(backbone, dataset)
        if not pairs:
            return
        what = (
            f"{len(pairs)} task{'s' * (len(pairs) > 1)}"
            if backbone
            else f"{len(pairs)} backbones by k nearest neighbours"
        )
        question = ConfirmDialog(
            f"Evaluate {backbone or dataset} now?", f"On {what}; the next dialog shows the planned runs."
        )
        self.push_screen(question, lambda yes: self._launch(pairs) if yes else None)

    def _pairs_of(self, backbone: str | None, dataset: str | None) -> tuple[Pair, ...]:
        state = self.state
        suite = state.catalogue.suite.get(state.planned_suite or "")
        if backbone:
            tasks = suite.tasks if suite else [one.name for one in state.catalogue.tasks if one.missing is None]
            return tuple((backbone, task) for task in tasks)
        task = next(
            (one for one in state.catalogue.tasks if one.dataset.name == dataset and one.protocol == "knn"), None
        )
        names = suite.backbones if suite and suite.backbones else [one.name for one in state.catalogue.backbones]
        present = [name for name in names if state.catalogue.backbone[name].missing is None]
        return tuple((name, task.name) for name in present) if task else ()

    def _launch(self, pairs: tuple[Pair, ...]) -> None:
        from ssl_console.tui.data.backend import LaunchRequest  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.launch import LaunchDialog  # noqa: PLC0415

        known = self.state.catalogue.suite.get(self.state.planned_suite or "")
        suite = known.name if known and all(task in known.tasks for _, task in pairs) else None
        self.push_screen(LaunchDialog(LaunchRequest(pairs, suite=suite)))


@dataclass(frozen=True)
class UndoableChange:
    """One change and its reversal."""

    text: str
    """Noun phrase, e.g. `mark of demo/mae`."""
    undo: Callable[[], object]


@dataclass
class UndoHistory:
    """The last changes."""

    _changes: deque[UndoableChange] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))

    def add(self, text: str, undo: Callable[[], object]) -> None:
        """Add a change that was just made."""
        self._changes.append(UndoableChange(text, undo))

    def undo(self) -> str:
        """Revert the last change; returns its text, empty if there is none."""
        if not self._changes:
            return ""
        change = self._changes.pop()
        change.undo()
        return change.text
