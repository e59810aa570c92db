"""Training: transfer of the checkpoints of a watched training, compared with other backbones."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult

from ssl_console.operations.checkpoints.record import TransferCurve, WatchedTraining, curve_of, trainings
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.style.text import Line, Span, Tone, length, line, wrap
from ssl_console.tui.views.ranking_query import badged
from ssl_console.tui.views.training import chart_of, rows_of
from ssl_console.tui.widgets.graphics import ChartView
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.virtual_table import LineTable

NONE_YET = (
    "`ssl-console watch DIR` evaluates the checkpoints of a training as they are written. Their transfer is drawn "
    "transfer."
)


class TrainingScreen(ConsoleScreen):
    """One watched training at a time."""

    MODE = "training"
    KEYS = (
        Key("next", "right_square_bracket", "step(1)", "next", "The next watched training"),
        Key("previous", "left_square_bracket", "step(-1)", "previous", "The previous watched training"),
        Key("open", "enter", "open", "result", "Open the result of the checkpoint under the cursor"),
        Key("copy", "y", "copy", "copy command", "Copy the command that continues watching", footer=False),
    )
    HELP_TEXT = (
        "The curve is the mean over the tasks that the training is watched on; horizontal lines are other backbones on "
        "the same tasks. A peak is reported when three later checkpoints are worse by more than the noise."
    )

    def __init__(self) -> None:
        super().__init__()
        self._trainings: Sequence[WatchedTraining] = ()
        self._place = 0

    def body(self) -> ComposeResult:
        """Verdict, chart, checkpoints."""
        yield StyledText(id="summary", classes="hint")
        yield ChartView(id="chart")
        yield LineTable(id="checkpoints", empty=NONE_YET)

    def on_mount(self) -> None:
        self.query_one(LineTable).focus()

    def update_view(self, state: AppState) -> None:
        """Show the trainings that have been read, and read them again."""
        self._show(state)
        workspace = host(self).backend.session.workspace
        self.in_background(lambda: tuple(trainings(workspace)), self._take, group="trainings")

    def _take(self, trainings: Sequence[WatchedTraining]) -> None:
        if trainings != self._trainings and self.is_mounted:
            self._trainings = trainings
            self._show(self.state)

    @property
    def _training(self) -> WatchedTraining | None:
        return self._trainings[self._place % len(self._trainings)] if self._trainings else None

    def _show(self, state: AppState) -> None:
        training, summary = self._training, self.query_one("#summary", StyledText)
        self.set_class(training is None, "none")
        if training is None:
            summary.show_all([line(Span(" no watched trainings", Tone.DIM))])
            return
        curve = curve_of(training, state.results)
        summary.show_all(_summary(training, curve, self._place, len(self._trainings), self.size.width))
        self.query_one(ChartView).show(chart_of(curve))
        self.query_one(LineTable).show(rows_of(training, curve, badged(state.results, state.catalogue)))

    # -- actions ------------------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """Show the next or previous training."""
        if self._trainings:
            self._place = (self._place + by) % len(self._trainings)
            self._show(self.state)

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Open the result of the checkpoint under the cursor."""
        row, training = self.query_one(LineTable).row, self._training
        by_key = (
            {f"{checkpoint.file}\0{checkpoint.mtime_ns}": checkpoint for checkpoint in training.checkpoints}
            if training
            else {}
        )
        if row in by_key and by_key[row].run_ids:
            host(self).open_result(by_key[row].run_ids[0], by_key[row].run_ids)

    def action_copy(self) -> None:
        """Copy the command that continues watching."""
        if (training := self._training) is not None:
            tasks = [word for task in training.tasks for word in ("-t", task)]
            words = [
                "ssl-console",
                "--workspace",
                str(host(self).backend.session.workspace.root),
                "watch",
                training.folder,
                *tasks,
            ]
            host(self).copy(shlex.join(words))


def _summary(training: WatchedTraining, curve: TransferCurve, index: int, count: int, width: int) -> list[Line]:
    """Summary in one line if there is room, otherwise two."""
    which = f" ({index + 1} of {count})" if count > 1 else ""
    tone = Tone.WARN if curve.peaked else Tone.PLAIN
    name, tasks = Span(f" {training.name}{which}", Tone.TITLE), f"on {', '.join(training.tasks)}"
    whole = line(name, Span(f"  {curve.verdict}", tone), Span(f"  {tasks}", Tone.DIM))
    if length(whole) <= width:
        return [whole]
    verdict = [line(Span(f" {text}", tone)) for text in wrap(curve.verdict, width - 2)]
    return [line(name, Span(f"  {tasks}", Tone.DIM)), *verdict]
