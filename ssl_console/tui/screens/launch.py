"""The launch dialog: preview and confirmation of a launch."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.plan import Plan
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views.coverage import reading_text
from ssl_console.tui.views.plan import launch_lines
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines

SEED_COUNTS = (1, 2, 3, 5)
PRESETS = (None, "paper")
READING_S = 0.5
"""Seconds between two looks at how far a dataset has been read."""


class LaunchDialog(Dialog[int | None]):
    """Ends with the number of runs started, or None."""

    BINDINGS: ClassVar = bindings("launch")

    def __init__(self, request: LaunchRequest) -> None:
        super().__init__()
        self._request = request
        self._plan: Plan | None = None

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog launch") as panel:
            panel.border_title = "Launch"
            yield Lines(id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Plan the selection."""
        self.set_interval(READING_S, self._show_reading)
        self._replan(replace(self._request, launcher=self._request.launcher or host(self).backend.session.launchers[0]))

    def _replan(self, request: LaunchRequest) -> None:
        self._request, self._plan = request, None
        self.query_one(Lines).show([line(Span(f"Looking at {len(request.pairs)} picked ...", Tone.DIM)), ()])
        backend = host(self).backend

        def make_plan() -> tuple[Plan, Disk]:
            plan = backend.plan(request)
            return plan, backend.disk(plan)

        host(self).in_background(make_plan, self._show, group="plan")

    def _show_reading(self) -> None:
        """While it is planned: how far the files of datasets that are pending have been read."""
        if self._plan is None and host(self).state.reading:
            head = line(Span(f"Looking at {len(self._request.pairs)} picked ...", Tone.DIM))
            reading = [line(Span(f" {reading_text(one)}", Tone.BUSY)) for one in host(self).state.reading.values()]
            self.query_one(Lines).show([head, *reading, ()])
            self.refresh(layout=True)

    def _show(self, planned: tuple[Plan, Disk]) -> None:
        if not self.is_mounted:
            return
        self._plan, disk = planned
        width = min(78, self.app.size.width - 6)
        lines = launch_lines(self._plan, disk, self._request, width, render_context(self).glyphs)
        self.query_one(Lines).show([*lines, ()])
        self.refresh(layout=True)

    def action_start(self) -> None:
        """Start the runs."""
        plan = self._plan
        if plan is None:
            return
        if not plan.to_run:
            host(self).notify_user("Nothing to start: press a to measure again what is done.")
            return
        backend = host(self).backend
        host(self).in_background(lambda: backend.submit(plan, self._request.launcher), self._started, group="submit")

    def _started(self, count: int) -> None:
        self.dismiss(count)

    def action_again(self) -> None:
        """Toggle measuring again what is done."""
        self._replan(replace(self._request, again=not self._request.again))

    def action_seeds(self) -> None:
        """The next number of seeds."""
        index = SEED_COUNTS.index(len(self._request.seeds)) if len(self._request.seeds) in SEED_COUNTS else 0
        count = SEED_COUNTS[(index + 1) % len(SEED_COUNTS)]
        self._replan(replace(self._request, seeds=tuple(range(count))))

    def action_preset(self) -> None:
        """The other parameters."""
        index = PRESETS.index(self._request.preset) if self._request.preset in PRESETS else 0
        self._replan(replace(self._request, preset=PRESETS[(index + 1) % len(PRESETS)]))

    def action_launcher(self) -> None:
        """The next launcher."""
        names = host(self).backend.session.launchers
        index = names.index(self._request.launcher) if self._request.launcher in names else -1
        self._replan(replace(self._request, launcher=names[(index + 1) % len(names)]))

    def action_copy(self) -> None:
        """The command line that does the same, to the clipboard."""
        host(self).copy(host(self).backend.command(self._request))
