"""The launch dialog: preview, seeds and confirmation of a launch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, cast, get_args

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input

from ssl_console.planning.disk_usage import Disk
from ssl_console.planning.plan import Blocker, Plan
from ssl_console.tui.data.backend import LaunchRequest
from ssl_console.tui.host import Host, host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.screens.dialogs import ConfirmDialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views import launch
from ssl_console.tui.views.coverage import Downloads, download_of
from ssl_console.tui.views.launch import parse_seeds
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.inputs import StaticInput
from ssl_console.tui.widgets.styled_text import Lines, StyledText, WrappedKeys
from ssl_console.workspace.config import DevicesPerRun, Share

PRESETS = (None, "paper")
LOOK_S = 0.5
"""Seconds between two updates of the progress of planning and downloads."""


def fetch_missing(app: App[int], missing: Sequence[Blocker]) -> None:
    """Queue downloads; several, or of datasets, after a confirmation with their sizes."""
    console = cast("Host", app)

    def queue(yes: bool | None) -> None:
        if yes:
            count = console.backend.fetch([download_of(item) for item in missing])
            console.notify_user(f"{count} download{'s' if count != 1 else ''} queued.")
            console.poll_now()

    if len(missing) > 1 or missing[0].kind == "data":
        app.push_screen(ConfirmDialog(*launch.fetch_question(missing)), queue)
    else:
        queue(yes=True)


def submit(app: Host, plan: Plan, request: LaunchRequest, then: Callable[[], object]) -> None:
    """Start the plan's new runs in the background, then report their number and call `then`."""

    def submitted(count: int) -> None:
        app.notify_user(f"{count} run{'s' if count != 1 else ''} queued. They continue without this window.")
        app.poll_now()
        then()

    count = len(plan.to_run)
    app.notify_user(f"Queueing {count} run{'s' if count != 1 else ''} ...")
    app.in_background(lambda: app.backend.submit(plan, request), submitted, group="submit")


class LaunchDialog(Dialog[None]):
    """Preview of a launch. `started` is called when the runs are queued."""

    BINDINGS: ClassVar = [
        *bindings("launch"),
        *(Binding(str(digit), f"seeds('{digit}')", show=False) for digit in range(10)),
    ]
    HELP_TEXT = (
        "Preview of a launch: nothing has started. Finished runs are repeated only after a. Runs that cannot start "
        "are listed by reason, with the key that resolves it. A run uses one device; with d, idle "
        "devices help to compute its features as long as no other run waits, and results stay the same."
    )

    def __init__(self, request: LaunchRequest, started: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._request, self._started = request, started
        self._plan: Plan | None = None
        self._disk: Disk | None = None
        self._began = 0.0
        self._starts = False
        """Whether enter was pressed while the launch was being planned."""
        self._next_screen = ""
        """Key of the screen to show after the start; typed while enter was kept."""
        self._downloads: Downloads = {}
        self._sharing: Share | None = None
        """Sharing of GPUs in the settings; None where no run uses one."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog launch") as panel:
            panel.border_title = "Launch"
            yield Lines(id="text")
            yield WrappedKeys()

    def on_mount(self) -> None:
        """Plan the selection."""
        self._downloads = host(self).state.downloads
        self.set_interval(LOOK_S, self._look)
        self._sharing = host(self).backend.session.sharing(self._request.launcher)
        self._replan(replace(self._request, launcher=self._request.launcher or host(self).backend.session.launchers[0]))

    def _replan(self, request: LaunchRequest) -> None:
        self._request, self._plan, self._began = request, None, time.monotonic()
        self._show_looking()
        backend = host(self).backend

        def make_plan() -> tuple[Plan, Disk]:
            plan = backend.plan(request)
            return plan, backend.disk(plan)

        host(self).in_background(make_plan, self._take, group="plan")

    def _look(self) -> None:
        """Show the progress of planning; afterwards that of downloads, and plan again when one has ended."""
        downloads, before = host(self).state.downloads, self._downloads
        if self._plan is None:
            self._show_looking()
        elif downloads != before:
            self._downloads = downloads
            needed = [downloads.get(download_of(item)) for item in launch.fetchable(self._plan)]
            if any(one is not None and one.state == "done" for one in needed):
                self._replan(self._request)
            else:
                self._show()

    @property
    def _width(self) -> int:
        return min(78, self.app.size.width - 6)

    def _show_looking(self) -> None:
        elapsed, reading = time.monotonic() - self._began, host(self).state.reading.values()
        activity, picked = host(self).backend.activity, len(self._request.pairs)
        self._show_lines(
            launch.looking_lines(picked, elapsed, activity, reading, starts=self._starts, width=self._width)
        )

    def _take(self, planned: tuple[Plan, Disk]) -> None:
        if not self.is_mounted:
            return
        self._plan, self._disk = planned
        starts, self._starts = self._starts, False
        self._show()
        if starts and self._plan.to_run and not self._plan.missing:
            self.action_start()
        else:
            self._next_screen = ""

    def _show(self) -> None:
        assert self._plan is not None
        assert self._disk is not None
        glyphs = render_context(self).glyphs
        request = replace(
            self._request, share=self._request.share or self._sharing, devices_per_run=self._devices_per_run
        )
        args = (self._plan, self._disk, request, self._downloads)
        self._show_lines(launch.launch_lines(*args, self._width, glyphs))

    def _show_lines(self, lines: list[Line]) -> None:
        self.query_one(Lines).show([*lines, ()])
        self.refresh(layout=True)

    # -- starting -----------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Start the runs; during planning, start them once nothing prevents it."""
        plan = self._plan
        if plan is None:
            self._starts = not self._starts
            self._show_looking()
        elif not plan.to_run:
            host(self).notify_user(launch.nothing_to_start(plan, self._request))
        else:
            submit(host(self), plan, self._request, self._started)
            self.dismiss(None)  # before the supervisor has started: further keys go to the screen
            if self._next_screen:
                self.app.call_later(self.app.simulate_key, self._next_screen)

    def action_override(self) -> None:
        """Measure backbones that fail their checks, after a confirmation; or revert this."""
        if self._request.override:
            self._replan(replace(self._request, override=False))
            return
        refused = launch.refused(self._plan) if self._plan is not None else []
        if not refused:
            host(self).notify_user("Nothing is refused.")
            return
        what = f"{len(refused)} backbones" if len(refused) > 1 else refused[0].name
        consequence = ". ".join(item.reason for item in refused)
        warning = f"{consequence}. Every result will carry this as a warning, in every table and export."
        self.app.push_screen(
            ConfirmDialog(f"Measure {what} despite failed checks?", warning),
            lambda yes: self._replan(replace(self._request, override=True)) if yes else None,
        )

    def action_fetch(self) -> None:
        """Queue the downloads of missing weights and data."""
        missing = launch.fetchable(self._plan) if self._plan is not None else []
        if missing:
            fetch_missing(self.app, missing)
        else:
            host(self).notify_user("No weights or data are missing that can be downloaded.")

    # -- options ------------------------------------------------------------------------------------------------

    def action_again(self) -> None:
        """Toggle the repetition of finished runs."""
        self._replan(replace(self._request, again=not self._request.again))

    def action_seeds(self, typed: str = "") -> None:
        """Open the seeds dialog, starting with a typed digit; one that follows enter names the next screen."""
        if typed and self._starts:
            self._next_screen = typed
            return

        def replan(seeds: tuple[int, ...] | None) -> None:
            if seeds is not None and seeds != self._request.seeds:
                self._replan(replace(self._request, seeds=seeds))

        self.app.push_screen(SeedsDialog(typed or launch.format_seeds(self._request.seeds)), replan)

    def action_preset(self) -> None:
        """Switch to the other parameters."""
        index = PRESETS.index(self._request.preset) if self._request.preset in PRESETS else 0
        self._replan(replace(self._request, preset=PRESETS[(index + 1) % len(PRESETS)]))

    def action_launcher(self) -> None:
        """Switch to the next launcher."""
        names = host(self).backend.session.launchers
        index = names.index(self._request.launcher) if self._request.launcher in names else -1
        launcher = names[(index + 1) % len(names)]
        self._sharing = host(self).backend.session.sharing(launcher)
        self._replan(replace(self._request, launcher=launcher, share=None, devices_per_run=None))

    def action_share(self) -> None:
        """Switch to the next way to share a GPU with other processes."""
        if self._sharing is None:
            host(self).notify_user("These runs use no GPU of this machine: there is nothing to share.")
            return
        modes = get_args(Share)
        following = modes[(modes.index(self._request.share or self._sharing) + 1) % len(modes)]
        self._request = replace(self._request, share=None if following == self._sharing else following)
        if self._plan is not None:
            self._show()

    @property
    def _devices_per_run(self) -> DevicesPerRun:
        return self._request.devices_per_run or host(self).backend.session.config.devices_per_run

    def action_devices(self) -> None:
        """Switch to the next number of devices per run."""
        session = host(self).backend.session
        local = session.launcher(session.placement(self._request.launcher)).capacity() is None
        following = launch.next_device_number(self._devices_per_run, local=local)
        of_settings = following == session.config.devices_per_run
        self._request = replace(self._request, devices_per_run=None if of_settings else following)
        if self._plan is not None:
            self._show()

    def action_copy(self) -> None:
        """Copy the equivalent command line to the clipboard."""
        host(self).copy(host(self).backend.command(self._request))


class SeedsDialog(Dialog[tuple[int, ...] | None]):
    """Ends with the seeds, or None."""

    BINDINGS: ClassVar = bindings("seeds")
    HELP_TEXT = (
        "Seeds of every selected pair, as numbers and ranges: 0-4 means 0, 1, 2, 3, 4. Tables show the mean over seeds."
    )
    DEFAULT_CSS = """
    SeedsDialog Input { background: $background; }
    SeedsDialog StyledText { height: 1; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The input line, and its interpretation."""
        with Vertical(classes="dialog small") as panel:
            panel.border_title = "Seeds"
            yield StaticInput(self._text, placeholder="0-4, or 0,3,7", compact=True, select_on_focus=False)
            yield StyledText(id="meaning")
            yield KeyLine()

    def on_mount(self) -> None:
        """Move the cursor to the end of the text."""
        self.query_one(Input).focus()
        self._show()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()

    def _show(self) -> None:
        try:
            count = len(parse_seeds(self.query_one(Input).value))
        except ValueError as error:
            meaning = Span(str(error), Tone.WARN)
        else:
            meaning = Span(f"{count} seed{'s' if count != 1 else ''} for every pair", Tone.DIM)
        self.query_one("#meaning", StyledText).show([line(meaning)])

    def action_accept(self) -> None:
        """Accept the seeds, if they are valid."""
        try:
            self.dismiss(parse_seeds(self.query_one(Input).value))
        except ValueError:
            self._show()
