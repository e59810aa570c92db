"""Base class of the dialogs of sequential evaluations: they follow their runs, and are read again as results arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.planning.duration import format_duration
from ssl_console.planning.plan import Plan
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.host import host
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.views.stages import Surroundings, failed_runs, stage_lines
from ssl_console.tui.widgets.styled_text import Lines, WrappedKeys

Reading = TypeVar("Reading")
TICK_S = 0.5
LEAST_WIDTH = 60


class StagesDialog(Dialog[None], Generic[Reading]):
    """A panel with the results so far, the stage that runs or comes next, and its progress.

    Results are read in a thread: at the start, and whenever a run of the stage has ended or results have arrived.
    """

    WHAT: ClassVar[str]
    """The kind of evaluation, as a noun."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: Reading | None = None
        self.going = False
        """Whether the next stage is started when one has ended."""
        self._problem = ""
        self._busy = False
        self._began = 0.0
        """Start of the current reading."""
        self._seen: tuple[object, ...] = ()
        """State of the workspace at the last reading."""
        self._submitted: tuple[str, ...] = ()
        self._submitting = False
        self._again = False
        """Whether something has changed during the current reading."""

    # -- defined by subclasses ------------------------------------------------------------------------------------

    @property
    def title_text(self) -> str:
        """Title of the panel."""
        raise NotImplementedError

    def reader(self) -> Callable[[Session], Reading]:
        """Function that reads the results; called in a thread. It may raise ConsoleError."""
        raise NotImplementedError

    def stages_left(self, reading: Reading) -> Sequence[PlannedStage]:
        """The stages that are still to be run, the next one first; empty at the end."""
        raise NotImplementedError

    def content(self, reading: Reading, around: Surroundings) -> list[Line]:
        """Everything above the stage."""
        raise NotImplementedError

    def below(self, reading: Reading, around: Surroundings) -> list[Line]:  # noqa: ARG002 - overridden where there are charts
        """Everything below the stage."""
        return []

    def refusal(self, stage: PlannedStage) -> str:  # noqa: ARG002 - overridden where there is a budget
        """Reason why the stage must not be started; empty if there is none."""
        return ""

    def command(self) -> str:
        """Equivalent command line."""
        raise NotImplementedError

    # -- drawing --------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = self.title_text
            yield Lines(id="text")
            yield WrappedKeys()

    def on_mount(self) -> None:
        """Read the results, and follow the runs."""
        self.set_interval(TICK_S, self._tick)
        self.action_refresh()

    def on_resize(self) -> None:
        """Wrap the text again."""
        self.draw()

    def draw(self) -> None:
        """Show the last reading, with the progress of its runs."""
        if self.is_attached:
            text, app = self.query_one(Lines), host(self)
            if not text.outer_size.width:  # not laid out yet
                self.call_after_refresh(self.draw)
                return
            # the width next to a scroll bar, whose appearance would otherwise wrap the text again
            room = text.outer_size.width - text.gutter.width - text.styles.scrollbar_size_vertical
            width = max(LEAST_WIDTH, room)
            glyphs, height = render_context(self).glyphs, text.size.height
            text.show(self._lines(Surroundings(app.state, app.clock(), glyphs, width, height)))

    def _lines(self, around: Surroundings) -> list[Line]:
        if self._problem:
            return [line(Span(f" {text}", Tone.WARN)) for text in wrap(self._problem, around.width - 2)]
        if self.reading is None:
            elapsed = format_duration(around.now - self._began)
            return [line(Span(f" reading results ...  {elapsed}", Tone.DIM))]
        lines, left = self.content(self.reading, around), self.stages_left(self.reading)
        for run in failed_runs(self._submitted, around.state.runs):
            why = f"{run.backbone} on {run.task} has {run.state.value}: {run.reason or 'see its log in Live'}"
            lines += [line(Span(f" {text}", Tone.BAD)) for text in wrap(why, around.width - 2)]
        if left:
            lines += [(), *stage_lines(left[0], around, going=self.going, later=left[1:])]
        return [*lines, *self.below(self.reading, around)]

    # -- following ------------------------------------------------------------------------------------------------

    def _fingerprint(self) -> tuple[object, ...]:
        """Inputs of a reading: the results, and which runs of the stage have ended."""
        state = host(self).state
        active = self._stage.active if self._stage else ()
        return (state.results, tuple(run_id in state.runs and state.runs[run_id].state.final for run_id in active))

    @property
    def _stage(self) -> PlannedStage | None:
        left = self.stages_left(self.reading) if self.reading is not None else ()
        return left[0] if left else None

    def _tick(self) -> None:
        seen = self._fingerprint()
        unchanged = len(seen) == len(self._seen) and seen[0] is self._seen[0] and seen[1] == self._seen[1]
        if not self._busy and not unchanged:
            self.action_refresh()
        else:
            self.draw()

    def action_refresh(self) -> None:
        """Read the results again."""
        if self._busy:
            self._again = True
            return
        self._busy, self._again, self._seen = True, False, self._fingerprint()
        self._began = host(self).clock()
        session, read = host(self).backend.session, self.reader()

        def work() -> Reading | str:
            try:
                return read(session)
            except ConsoleError as error:
                return str(error)

        host(self).in_background(work, self._take, group=f"read {self.WHAT}")
        self.draw()

    def _take(self, found: Reading | str) -> None:
        self._busy = False
        if isinstance(found, str):
            self._problem = found
        else:
            self.reading, self._problem = found, ""
            self._seen = (self._seen[0], self._fingerprint()[1])
            active = self._stage.active if self._stage else ()
            self._submitted = tuple(dict.fromkeys([*self._submitted, *active]))
        if self._again:
            self.action_refresh()
        elif self.reading is not None:
            self._go_on()
        self.draw()

    def _go_on(self) -> None:
        """Start the next stage if that was requested, unless a run of the last one failed."""
        stage = self._stage
        failed = failed_runs(self._submitted, host(self).state.runs)
        if stage is None or stage.blockers or failed or self.refusal(stage):
            self.going = False
        elif self.going and stage.to_run and not (stage.active or self._submitting):
            self.submit(stage)

    # -- actions --------------------------------------------------------------------------------------------------

    def action_next_stage(self) -> None:
        stage, app = self._stage, host(self)
        if stage is None:
            app.notify_user(f"nothing is left to run in this {self.WHAT}")
        elif stage.blockers:
            app.notify_user(f"{stage.name}: {stage.blockers[0].advice}")
        elif not stage.to_run:
            app.notify_user(f"{stage.name} is queued or running already")
        elif refusal := self.refusal(stage):
            app.notify_user(refusal)
        else:
            self.submit(stage)

    def action_all_stages(self) -> None:
        """Run stage after stage until the answer is certain, or stop after this one."""
        self.going = not self.going
        if self.going and self._stage is not None and self._stage.to_run:
            self.action_next_stage()
        self.draw()

    def submit(self, stage: PlannedStage) -> None:
        """Queue the runs of a stage."""
        app, plan, self._submitting = host(self), Plan(stage.runs, stage.seconds, 1), True

        def work() -> int | str:
            try:
                return app.backend.submit(plan)
            except ConsoleError as error:
                return str(error)

        app.in_background(work, self._queued, group=f"submit {self.WHAT}")

    def _queued(self, found: int | str) -> None:
        app, self._submitting = host(self), False
        if isinstance(found, str):
            self.going = False
            app.show_problem("Not queued", found)
            return
        app.notify_user(f"{found} runs queued")
        app.poll_now()
        if self.is_attached:
            self.action_refresh()

    def action_copy(self) -> None:
        """Copy the equivalent command line."""
        host(self).copy(self.command(), f"copied: the command of this {self.WHAT}")
