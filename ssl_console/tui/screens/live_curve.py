"""Live's pane of curves: of the marked runs and the one under the cursor, over the best other backbone on its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.views import curves
from ssl_console.tui.views.curves import CurveOptions, RunCurves, Window
from ssl_console.tui.widgets.graphics import ChartView
from ssl_console.workspace.events import Curve
from ssl_console.workspace.result import Result
from ssl_console.workspace.run_observer import RunView

RUNS_KEPT = 64
"""Maximum number of finished runs whose curves are cached."""
ZOOM = 2.0


class CurvePane(ChartView, can_focus=True):
    """The chart, its options, and the curves read for it."""

    BINDINGS: ClassVar = bindings("chart")

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.options = CurveOptions()
        self._read: dict[tuple[str, int], Mapping[str, Curve]] = {}
        """By run and attempt."""
        self._ghosts: dict[str, Mapping[str, Curve]] = {}
        """By the run of the result."""
        self._asked: tuple[object, ...] = ()
        self._runs: Sequence[RunView] = ()
        self._cursor: RunView | None = None
        self._results: Sequence[Result] = ()

    def show_runs(self, marked: Sequence[RunView], cursor: RunView, results: Sequence[Result]) -> None:
        """Draw the curves of the marked runs and of the run under the cursor, and the best other result on its task."""
        runs = marked if cursor in marked else [*marked, cursor]
        self._runs, self._cursor, self._results = runs, cursor, results
        best = curves.best_other(results, cursor.task, (run.backbone for run in runs))
        names = curves.legend_names(runs)
        drawn = [RunCurves(name, self._curves(run)) for name, run in zip(names, runs, strict=True)]
        ghost = RunCurves(best.backbone, self._ghosts.get(best.run_id, {})) if best else None
        self.show(curves.curve_chart(drawn, ghost, self.options, ended=cursor.state.final))
        self._ask(best)

    def _curves(self, run: RunView) -> Mapping[str, Curve]:
        return run.progress.metrics or self._read.get((run.run_id, run.status.attempt), {})

    def _ask(self, best: Result | None) -> None:
        """Read the curves that have not been read."""
        lacking = tuple(
            (run.run_id, run.status.attempt)
            for run in self._runs
            if not run.progress.metrics and (run.run_id, run.status.attempt) not in self._read
        )
        ghost = best.run_id if best is not None and best.run_id not in self._ghosts else None
        request = (lacking, ghost)
        if request in ((), ((), None)) or request == self._asked:
            return
        self._asked = request
        backend = host(self).backend

        def read() -> tuple[dict[tuple[str, int], Mapping[str, Curve]], dict[str, Mapping[str, Curve]]]:
            own = {place: backend.curves(place[0]) for place in lacking}
            return own, {} if ghost is None else {ghost: backend.curves(ghost)}

        host(self).in_background(read, self._take, group="curves")

    def _take(self, read: tuple[dict[tuple[str, int], Mapping[str, Curve]], dict[str, Mapping[str, Curve]]]) -> None:
        self._read = dict(list({**self._read, **read[0]}.items())[-RUNS_KEPT:])
        self._ghosts = dict(list({**self._ghosts, **read[1]}.items())[-RUNS_KEPT:])
        if self.is_mounted and self.display:
            self.draw_again()

    def draw_again(self) -> None:
        """Draw the same runs with the current options."""
        if self._cursor is not None:
            self.show_runs(self._runs, self._cursor, self._results)

    def choose(self, options: CurveOptions) -> None:
        """Draw with other options."""
        self.options = options
        self.draw_again()

    def next_metric(self) -> None:
        """Switch to the next metric of the runs."""
        self.choose(self.options.next_metric([RunCurves("", self._curves(run)) for run in self._runs]))

    def zoom(self, direction: int) -> None:
        """Zoom in (1) or out (-1) on the horizontal axis."""
        self.choose(replace(self.options, window=self.options.window.zoomed(ZOOM**direction)))

    def action_move(self, step: int) -> None:
        """Move along the horizontal axis."""
        self.choose(replace(self.options, window=self.options.window.moved(step)))

    def action_whole(self) -> None:
        self.choose(replace(self.options, window=Window()))
