"""Live: the runs with their progress, and details of the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ssl_console.analysis.filter_query import parse
from ssl_console.tui.data.backend import RunFiles
from ssl_console.tui.data.state import AppState, filterable
from ssl_console.tui.host import host
from ssl_console.tui.keys import Key
from ssl_console.tui.screens.editing import EditTarget, card_target, log_target
from ssl_console.tui.screens.live_curve import CurvePane
from ssl_console.tui.screens.live_requests import RunRequests
from ssl_console.tui.screens.marking import marking_keys
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views import live
from ssl_console.tui.views.curves import CurveOptions
from ssl_console.tui.views.devices import device_lines, header_lines
from ssl_console.tui.views.live import RunList
from ssl_console.tui.widgets.inputs import FilterBar, FilterLine
from ssl_console.tui.widgets.log_view import LogView
from ssl_console.tui.widgets.styled_text import Lines, StyledText, Tail
from ssl_console.tui.widgets.table_model import FilterHits
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

PANES = ("details", "curve", "log", "events", "devices")
PANE_HELP = {
    "details": "Details: times of queueing and start, phase, reason for waiting or failure, warnings.",
    "curve": "Curve: a metric of the run and of the marked runs (space); dotted behind them, the best other backbone "
    "on the same task. m draws another metric, L a logarithmic scale, t time instead of steps, i and o zoom; in the "
    "maximised chart (z) the arrows move along the axis.",
    "log": "Log: output of the worker. The pane follows its end; when maximised (z), g goes to the beginning and the "
    "arrows scroll from there, whatever its length.",
    "events": "Events: reports of the worker, newest last.",
    "devices": "Devices: load, memory, temperature and power with their recent history, a bar for every 5 seconds; "
    "below them, the processes that use the memory, with user, pid and role in this workspace. d shows a line for each "
    "device above the runs.",
}
WIDE = 130
"""Width from which the devices have their own pane."""
DEVICES_WIDTH = 51
"""Width of that pane in cells, next to its border."""
TICK_S = 5.0


class LiveScreen(RunRequests):
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
        *marking_keys("run", ": curves of marked runs are overlaid"),
        Key("devices", "d", "gauges", "devices", "Show or hide a line for each device above the runs"),
        Key("finished", "f", "finished", "finished", "Hide or show finished runs"),
        Key("metric", "m", "metric", "metric", "Draw the next metric", footer=False),
        Key("log", "L", "log", "log scale", "Draw curves on a logarithmic or a linear scale", footer=False),
        Key("time", "t", "time", "step or time", "Draw curves over steps, or over time", footer=False),
        Key("magnify", "i", "magnify(1)", "zoom in", "Zoom in on the curves", footer=False),
        Key("widen", "o", "magnify(-1)", "zoom out", "Zoom out of the curves", footer=False),
    )
    HELP_TEXT = (
        "Active runs come first, then waiting runs, with the reason, then ended runs. The pane "
        "below shows the run under the cursor: tab switches to the next pane, z maximises it. Closing the console, or "
        "losing the connection, does not affect any run."
    )

    def __init__(self) -> None:
        super().__init__()
        self._pane = "details"
        self._finished = True
        self._marked: tuple[str, ...] = ()
        """In the order of marking."""
        self._files: tuple[str, RunFiles] = ("", RunFiles())
        self._asked: tuple[object, ...] = ()
        self._wanted_row: str | None = None

    def body(self) -> ComposeResult:
        """Summary, filter, runs, panes."""
        yield StyledText(id="summary", classes="hint")
        yield StyledText(id="gauges")
        yield FilterBar("run, backbone, task, seed, state, kind, device, job, phase")
        yield LineTable(id="runs", empty="No runs yet: tick something in Plan and launch it.")
        with Vertical(id="below"):
            yield StyledText(id="tabs", classes="hint")
            with Horizontal(id="panes"):
                yield Lines(id="details")
                yield CurvePane(id="curve")
                yield LogView(id="log")
                yield Tail(id="events")
                yield Lines(id="devices")

    @property
    def pane_help(self) -> str:
        """Help of the pane below, or of the filter while it is typed."""
        typing = isinstance(self.focused, FilterLine)
        return super().pane_help if typing else PANE_HELP[self._pane]

    def on_mount(self) -> None:
        """Focus the runs; redraw periodically, because runs may become silent."""
        self.show_pane("details")
        self.query_one("#runs", LineTable).focus()
        self.query_one("#runs", LineTable).hits = self._hits
        self.set_interval(TICK_S, self._tick)

    def _tick(self) -> None:
        if self.is_current and self.state.tally.running:
            self.refresh_view()

    @property
    def _curves(self) -> CurvePane:
        return self.query_one("#curve", CurvePane)

    # -- showing ------------------------------------------------------------------------------------------------

    def update_view(self, state: AppState) -> None:
        """Show the runs, the devices above them if requested, and the pane of the run under the cursor."""
        text = self.query_one(FilterBar).text
        glyphs, now = render_context(self).glyphs, host(self).clock()
        self._marked = tuple(run_id for run_id in self._marked if run_id in state.runs)
        runs = RunList.of(state, text, finished=self._finished, now=now, glyphs=glyphs, marked=self._marked)
        table = self.query_one("#runs", LineTable)
        table.show(runs.rows(self.size.width))
        if self._wanted_row in runs.runs:
            table.move_to(row=self._wanted_row)
            self._wanted_row = None
        shown = {"filtered": bool(text), "finished": self._finished}
        self.query_one("#summary", StyledText).show(
            [live.summary(state, now, self.size.width, marked=len(self._marked), **shown)]
        )
        if self.has_class("gauged"):
            lines = header_lines(state.devices, glyphs, self.size.width, max(2, self.size.height // 3))
            self.query_one("#gauges", StyledText).show_all(lines)
        self.set_class(self.size.width >= WIDE, "wide")
        self._show_run()

    def _show_run(self) -> None:
        run, glyphs = self.run, render_context(self).glyphs
        self.query_one("#tabs", StyledText).show([self._tabs(run)])
        width = self.query_one("#panes").size.width
        if self._pane == "devices" or self.has_class("wide"):
            devices = self.query_one("#devices", Lines)
            devices.show(device_lines(self.state.devices, glyphs, DEVICES_WIDTH if self.has_class("wide") else width))
        if run is None:
            return
        match self._pane:
            case "details":
                result = self.state.results_by_run.get(run.run_id)
                self.query_one("#details", Lines).show(live.details(run, result, host(self).clock(), max(40, width)))
            case "curve":
                marked = [self.state.runs[name] for name in self._marked if name in self.state.runs]
                self._curves.show_runs(marked, run, self.state.results)
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

    def show_pane(self, name: str) -> None:
        """Show a pane of the run under the cursor."""
        self._pane = name
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "shown")
        self._show_run()

    def _show_files(self, run: RunView) -> None:
        """Show the log or the events, and read them again after progress of the run."""
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

    def edit_targets(self) -> list[EditTarget]:
        """The log of the run under the cursor, and the card of its backbone."""
        return [log_target(self.run.run_id), card_target(self.run.backbone)] if self.run else []

    def go_back(self) -> bool:
        """Leave the filter, then the zoomed pane."""
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
        panes = [pane for pane in PANES if pane != "devices" or not self.has_class("wide")]
        index = panes.index(self._pane) if self._pane in panes else 0
        self.show_pane(panes[(index + step) % len(panes)])
        if self.has_class("zoomed"):
            self._focus_pane()

    def action_zoom(self) -> None:
        """Switch between the pane alone and both."""
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
        self.query_one(FilterBar).edit()

    def action_finished(self) -> None:
        self._finished = not self._finished
        self.refresh_view()

    def action_metric(self) -> None:
        self.show_pane("curve")
        self._curves.next_metric()

    @property
    def marks(self) -> Sequence[str]:
        """The marked runs, in the order of marking."""
        return self._marked

    def set_marks(self, marks: Sequence[str]) -> None:
        """Mark these runs."""
        self._marked = tuple(marks)
        self.refresh_view()

    def items(self, rows: Sequence[str], columns: Sequence[str]) -> Sequence[str]:  # noqa: ARG002 - rows alone are marked
        """The runs of these rows."""
        return [row for row in rows if row]

    def action_mark(self) -> None:
        """Mark or unmark the run, and show the curves."""
        super().action_mark()
        self.show_pane("curve")

    def _hits(self) -> FilterHits:
        """Runs matched by the last filter."""
        text = self.query_one(FilterBar).last
        terms = parse(text)
        return FilterHits([run.run_id for run in self.state.runs.values() if text and terms.matches(filterable(run))])

    def action_log(self) -> None:
        """Switch between a logarithmic and a linear vertical axis."""
        self._draw_curves(replace(self._curves.options, log=not self._curves.options.log))

    def action_time(self) -> None:
        """Switch the horizontal axis between steps and time."""
        self._draw_curves(replace(self._curves.options, by_time=not self._curves.options.by_time))

    def _draw_curves(self, options: CurveOptions) -> None:
        self.show_pane("curve")
        self._curves.choose(options)

    def action_magnify(self, direction: int) -> None:
        """Zoom the horizontal axis in or out."""
        self.show_pane("curve")
        self._curves.zoom(direction)

    def action_gauges(self) -> None:
        """Show or hide a line for each device above the runs."""
        self.toggle_class("gauged")
        self.refresh_view()

    def action_open(self) -> None:
        """Open the result of a finished run, or the log of any other."""
        run = self.run
        if run is None:
            return
        if run.state is RunState.DONE:
            host(self).open_result(run.run_id)
        else:
            self.show_pane("log")
