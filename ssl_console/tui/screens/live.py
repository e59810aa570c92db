"""Live: the runs with their progress, and details of the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ssl_console.tui.data.backend import RunFiles
from ssl_console.tui.data.state import AppState
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.dialogs import ConfirmDialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views import live
from ssl_console.tui.views.live import RunList
from ssl_console.tui.widgets.chart import ChartView
from ssl_console.tui.widgets.filter_bar import FilterBar, FilterLine
from ssl_console.tui.widgets.log_view import LogView
from ssl_console.tui.widgets.styled_text import Lines, StyledText, Tail
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.events import Curve
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

PANES = ("details", "curve", "log", "events", "devices")
PANE_HELP = {
    "details": "Details: when it was queued and started, its phase, why it waits or failed, its warnings.",
    "curve": "Curve: a metric of the run; dotted behind it, the best other backbone on the same task. m draws another.",
    "log": "Log: what the worker prints. It follows the end; in the whole screen (z) g goes to the beginning, and the "
    "arrows read on from there, however long it is.",
    "events": "Events: what the worker has reported, newest last.",
    "devices": "Devices: load, memory and who holds it, ours in green, others with their user; temperature and power.",
}
WIDE = 130
"""Cells from which the devices have a place of their own."""
TICK_S = 5.0


class LiveScreen(ConsoleScreen):
    """Runs above, panes below."""

    MODE = "live"
    KEYS = (
        Key("open", "enter", "open", "result", "Open the result of a finished run, or the log of any other"),
        Key("pane", "tab", "pane(1)", "next pane", "Next pane: curve, log, events, devices, details"),
        Key("cancel", "x", "cancel", "cancel", "Cancel the run", changes=True),
        Key("retry", "r", "retry", "retry", "Run again", changes=True),
        Key("filter", "slash", "filter", "filter", "Filter, e.g. state:failed"),
        Key("pause", "p", "pause", "pause", "Pause or resume the queue; running runs continue", changes=True),
        Key("zoom", "z", "zoom", "zoom", "Maximise the pane, or restore it"),
        Key("pane-back", "shift+tab", "pane(-1)", "previous pane", "Previous pane", footer=False),
        Key(
            "sooner",
            "plus,equals_sign",
            "priority(1)",
            "sooner",
            "Raise the run's priority",
            footer=False,
            changes=True,
        ),
        Key("later", "minus", "priority(-1)", "later", "Lower the run's priority", footer=False, changes=True),
        Key(
            "stack",
            "D",
            "stack",
            "stack dump",
            "Write the worker's stack traces to the log",
            footer=False,
            changes=True,
        ),
        Key("metric", "m", "metric", "metric", "Draw the next metric", footer=False),
        Key("finished", "f", "finished", "finished", "Hide or show finished runs"),
    )
    HELP_TEXT = (
        "Active runs come first, then those that wait and why, then those that have ended. The pane below shows the "
        "run under the cursor: tab turns to the next pane, z maximises it. Closing the console, or losing the "
        "connection, does not affect any run."
    )

    def __init__(self) -> None:
        super().__init__()
        self._pane = "details"
        self._finished = True
        self._metric: str | None = None
        self._own: tuple[str, Mapping[str, Curve]] = ("", {})
        self._ghosts: dict[str, Mapping[str, Curve]] = {}
        self._files: tuple[str, RunFiles] = ("", RunFiles())
        self._asked: tuple[object, ...] = ()
        self._wanted_row: str | None = None

    def body(self) -> ComposeResult:
        """Summary, filter, runs, panes."""
        yield StyledText(id="summary", classes="hint")
        yield FilterBar("run, backbone, task, seed, state, kind, device, job, phase")
        yield LineTable(id="runs", empty="No runs yet: tick something in Plan and launch it.")
        with Vertical(id="below"):
            yield StyledText(id="tabs", classes="hint")
            with Horizontal(id="panes"):
                yield Lines(id="details")
                yield ChartView(id="curve")
                yield LogView(id="log")
                yield Tail(id="events")
                yield Lines(id="devices")

    @property
    def pane_help(self) -> str:
        """Help of the pane below, or of the filter while it is typed."""
        typing = isinstance(self.focused, FilterLine)
        return super().pane_help if typing else PANE_HELP[self._pane]

    def on_mount(self) -> None:
        """Focus the runs; redraw now and then, because runs may have fallen silent."""
        self._show_pane("details")
        self.query_one("#runs", LineTable).focus()
        self.set_interval(TICK_S, self._tick)

    def _tick(self) -> None:
        if self.is_current and self.state.tally.running:
            self.refresh_view()

    # -- showing ------------------------------------------------------------------------------------------------

    @property
    def run(self) -> RunView | None:
        """The run under the cursor."""
        return self.state.runs.get(self.query_one("#runs", LineTable).row or "")

    def update_view(self, state: AppState) -> None:
        """Show the runs, and the pane of the one under the cursor."""
        text = self.query_one(FilterBar).text
        runs = RunList.of(
            state, text, finished=self._finished, now=host(self).clock(), glyphs=render_context(self).glyphs
        )
        table = self.query_one("#runs", LineTable)
        table.show(runs.rows(self.size.width))
        if self._wanted_row in runs.runs:
            table.move_to(row=self._wanted_row)
            self._wanted_row = None
        summary = live.summary(state, host(self).clock(), filtered=bool(text), finished=self._finished)
        self.query_one("#summary", StyledText).show([summary])
        self.set_class(self.size.width >= WIDE, "wide")
        self._show_run()

    def _show_run(self) -> None:
        run, glyphs = self.run, render_context(self).glyphs
        self.query_one("#tabs", StyledText).show([self._tabs(run)])
        width = self.query_one("#panes").size.width
        if self._pane == "devices" or self.has_class("wide"):
            devices = self.query_one("#devices", Lines)
            devices.show(live.device_lines(self.state.devices, glyphs, max(30, devices.size.width)))
        if run is None:
            return
        match self._pane:
            case "details":
                result = self.state.results_by_run.get(run.run_id)
                self.query_one("#details", Lines).show(live.details(run, result, host(self).clock(), max(40, width)))
            case "curve":
                self._show_curve(run)
            case "log" | "events":
                self._show_files(run)

    def _tabs(self, run: RunView | None) -> Line:
        spans = [Span(" ")]
        for pane in PANES:
            if pane == "devices" and self.has_class("wide"):
                continue
            here = pane == self._pane
            spans += [Span(f" {pane} ", Tone.TITLE if here else Tone.DIM)]
        if run is not None:
            spans.append(Span(f"   {run.backbone} on {run.task}", Tone.FAINT))
        return line(*spans)

    def _show_pane(self, name: str) -> None:
        self._pane = name
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "shown")
        self._show_run()

    def _show_curve(self, run: RunView) -> None:
        best = live.best_other(self.state.results, run)
        own = run.progress.metrics or (self._own[1] if self._own[0] == run.run_id else {})
        ghost = self._ghosts.get(best.run_id) if best else None
        chart = live.curve_chart(run, self._metric, own, (best.backbone, ghost) if best and ghost else None)
        self.query_one("#curve", ChartView).show(chart)
        run_ids = tuple(run_id for run_id in (best.run_id if best else None,) if run_id and run_id not in self._ghosts)
        if not run.progress.metrics and self._own[0] != run.run_id:
            run_ids = (run.run_id, *run_ids)
        if run_ids and run_ids != self._asked:
            self._asked = run_ids
            backend = host(self).backend
            self.in_background(
                lambda: {name: backend.curves(name) for name in run_ids}, self._take_curves, group="curves"
            )

    def _take_curves(self, curves: Mapping[str, Mapping[str, Curve]]) -> None:
        self._ghosts.update(curves)
        run = self.run
        if run is not None and run.run_id in curves:
            self._own = (run.run_id, curves[run.run_id])
        if self._pane == "curve":
            self._show_run()

    def _show_files(self, run: RunView) -> None:
        """Show the log or the events, and read them again when the run has progressed."""
        log = self.query_one("#log", LogView)
        if self._files[0] == run.run_id:
            log.open(self._files[1].log)
            self.query_one("#events", Lines).show(live.event_lines(self._files[1].events))
        log.follow()
        request = (run.run_id, run.status.attempt, run.progress.last_event, run.state, self._pane)
        if request != self._asked:
            self._asked = request
            backend, run_id = host(self).backend, run.run_id
            self.in_background(lambda: (run_id, backend.files(run_id)), self._take_files, group="files")

    def _take_files(self, files: tuple[str, RunFiles]) -> None:
        if files[0] != self._files[0]:
            self.query_one("#events", Tail).begin()
        self._files = files
        if self.run is not None and self.run.run_id == files[0] and self._pane in {"log", "events"}:
            self._show_run()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_run()

    @on(LineTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    @on(FilterBar.Changed)
    def _filtered(self) -> None:
        self.refresh_view()

    def go_back(self) -> bool:
        """Out of the filter, then out of the zoomed pane."""
        if self.query_one(FilterBar).clear():
            self.refresh_view()
            self.query_one("#runs", LineTable).focus()
            return True
        if self.has_class("zoomed"):
            self.action_zoom()
            return True
        self.query_one("#runs", LineTable).focus()
        return False

    def go_to(self, run_id: str) -> None:
        """Put the cursor on a run, and clear the filters that hide it."""
        self.query_one(FilterBar).clear()
        self._finished, self._wanted_row = True, run_id
        self.refresh_view()

    # -- looking ------------------------------------------------------------------------------------------------

    def action_pane(self, step: int) -> None:
        """Another pane."""
        panes = [pane for pane in PANES if pane != "devices" or not self.has_class("wide")]
        index = panes.index(self._pane) if self._pane in panes else 0
        self._show_pane(panes[(index + step) % len(panes)])
        if self.has_class("zoomed"):
            self._focus_pane()

    def action_zoom(self) -> None:
        """The pane alone, or both."""
        self.toggle_class("zoomed")
        if self.has_class("zoomed"):
            self._focus_pane()
        else:
            self.query_one("#runs", LineTable).focus()

    def _focus_pane(self) -> None:
        pane = self.query_one(f"#{self._pane}")
        if pane.can_focus:
            pane.focus()

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).edit()

    def action_finished(self) -> None:
        """Finished runs, or not."""
        self._finished = not self._finished
        self.refresh_view()

    def action_metric(self) -> None:
        """The next metric's curve."""
        run = self.run
        names = live.metrics_of(run.progress.metrics or self._own[1]) if run else []
        if names:
            index = names.index(self._metric) if self._metric in names else 0
            self._metric = names[(index + 1) % len(names)]
        self._show_pane("curve")

    def action_open(self) -> None:
        """The result of a finished run; the log of any other."""
        run = self.run
        if run is None:
            return
        if run.state is RunState.DONE:
            host(self).open_result(run.run_id)
        else:
            self._show_pane("log")

    # -- asking the supervisor ----------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        """Cancel the run, after a question if something would be lost."""
        run = self.run
        if run is None or run.state.final:
            host(self).notify_user("This run has ended already.")
            return
        if run.state is RunState.QUEUED:
            self._cancel(run.run_id)
            return
        consequence = (
            f"{run.backbone} on {run.task} is {run.state}. What it has computed so far stays in the feature cache."
        )
        dialog = ConfirmDialog("Cancel this run?", consequence)
        self.app.push_screen(dialog, lambda yes: self._cancel(run.run_id) if yes else None)

    def _cancel(self, run_id: str) -> None:
        session = host(self).backend.session
        self._ask(lambda: session.cancel(run_id))

    def action_retry(self) -> None:
        """Run it again."""
        run, session = self.run, host(self).backend.session
        if run is not None:
            self._ask(lambda: session.retry(run.run_id))

    def action_pause(self) -> None:
        """Pause or resume the queue."""
        session, paused = host(self).backend.session, self.state.supervisor.paused
        self._ask(session.resume if paused else session.pause)

    def action_priority(self, by: int) -> None:
        """Change the priority."""
        run, session = self.run, host(self).backend.session
        if run is not None:
            self._ask(lambda: session.set_priority(run.run_id, run.priority + by))

    def action_stack(self) -> None:
        """Request a stack dump of the worker."""
        run, backend = self.run, host(self).backend
        if run is not None:
            self._ask(lambda: backend.dump_stack(run.run_id))
            self._show_pane("log")

    def _ask(self, request: object) -> None:
        app = host(self)
        assert callable(request)
        app.in_background(request, lambda _: app.poll_now(), group="request")
