"""The ladder of a dataset: the leader after every rung, and the next rung to run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from ssl_console.analysis.ladder import LadderStep
from ssl_console.analysis.ladder_sentences import interaction_sentence, step_row, verdict_sentence
from ssl_console.operations.ladder import LadderRequest, PlannedRung, ladder_steps, plan_rungs
from ssl_console.operations.session import Session
from ssl_console.operations.stages import next_stage
from ssl_console.planning.duration import format_duration
from ssl_console.planning.plan import Plan
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.tui.views.paired_tests import short_name
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import Lines

ABOUT = (
    "From cheap to expensive protocols, until it is certain which backbone leads on average: bounds and verdicts hold "
    "however often you look, together in 95 % of ladders."
)
HEADINGS = ("rung", "leader", "P", "ahead of", "by", "certain bounds")
PROBABILITY, LEAD, BOUNDS, GAPS = 4, 6, 15, 7
"""Widths of the columns and of all gaps between them, in cells; names have the remainder."""


@dataclass(frozen=True)
class LadderReading:
    """The ladder according to the stored results."""

    steps: tuple[LadderStep, ...]
    rungs: tuple[PlannedRung, ...]

    @property
    def next(self) -> PlannedRung | None:
        """The rung to run next; None if the ladder is settled or complete."""
        return None if self.steps and self.steps[-1].settled else next_stage(self.rungs)


def read_ladder(session: Session, backbones: Sequence[str], dataset: str) -> LadderReading:
    """Plan the rungs and test the stored results. Raises ConsoleError."""
    cards = tuple(session.backbones.get(name) for name in backbones)
    request = LadderRequest(cards, session.tasks.dataset(dataset))
    rungs = plan_rungs(session, request, check=False)
    return LadderReading(tuple(ladder_steps(session, rungs)), tuple(rungs))


class LadderDialog(Dialog[None]):
    """Steps of a ladder, its verdict so far, and its next rung."""

    BINDINGS: ClassVar = bindings("ladder")

    def __init__(self, backbones: tuple[str, ...], dataset: str) -> None:
        super().__init__()
        self._backbones, self._dataset = backbones, dataset
        self._reading = LadderReading((), ())

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog ranks") as panel:
            panel.border_title = f"Ladder on {self._dataset}"
            yield Lines(id="text")
            yield KeyLine()

    def on_mount(self) -> None:
        """Read the results."""
        self.action_refresh()

    def action_refresh(self) -> None:
        """Read the results again."""
        self.query_one(Lines).show([line(Span(" reading results ...", Tone.DIM))])
        session, backbones, dataset = host(self).backend.session, self._backbones, self._dataset
        host(self).in_background(lambda: read_ladder(session, backbones, dataset), self._show, group="ladder")

    def _show(self, reading: LadderReading) -> None:
        self._reading = reading
        if self.is_attached:
            text = self.query_one(Lines)
            text.show(ladder_lines(reading, self._backbones, max(60, text.size.width)))

    def action_next_rung(self) -> None:
        """Queue the runs of the next rung."""
        rung, app = self._reading.next, host(self)
        if rung is None:
            app.notify_user("nothing is left to run on this ladder")
        elif rung.blockers:
            app.notify_user(f"{rung.name}: {rung.blockers[0].advice}")
        elif not rung.to_run:
            app.notify_user(f"{rung.name} is queued or running already: r reads its results when it has ended")
        else:
            plan = Plan(rung.runs, rung.seconds, 1)
            app.in_background(lambda: app.backend.submit(plan), self._queued, group="ladder")

    def _queued(self, count: int) -> None:
        host(self).notify_user(f"{count} runs queued: Live shows them, r reads the ladder again")
        if self.is_attached:
            self.action_refresh()

    def action_copy(self) -> None:
        """Copy the command that runs this ladder."""
        host(self).copy(ladder_command(self._backbones, self._dataset), "the command of this ladder: copied.")


def ladder_command(backbones: Sequence[str], dataset: str) -> str:
    """Equivalent command line."""
    names = [word for name in backbones for word in ("-b", name)]
    return shlex.join(["ssl-console", "ladder", *names, "--data", dataset])


def ladder_lines(reading: LadderReading, backbones: Sequence[str], width: int) -> list[Line]:
    """The table of steps, the sentences, and the remaining rungs."""
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(f"{', '.join(backbones)}. {ABOUT}", width - 2)]
    lines += [(), line(Span(_cells(HEADINGS, width), Tone.DIM))]
    for step in reading.steps:
        tone = Tone.GOOD if step.settled else Tone.PLAIN
        lines.append(line(Span(_cells(step_row(step), width), tone)))
    if reading.steps:
        last = reading.steps[-1]
        sentences = f"{verdict_sentence(last)} {interaction_sentence(last)}"
        lines += [(), *(line(f" {text}") for text in wrap(sentences, width - 2))]
    else:
        lines.append(line(Span(" no rung has results of all of these backbones yet", Tone.DIM)))
    return [*lines, (), *_left(reading, width)]


def _cells(texts: Sequence[str], width: int) -> str:
    rung, leader, probability, rival, lead, bounds, *_ = texts
    names = width - PROBABILITY - LEAD - BOUNDS - GAPS
    rung_width, name_width = max(16, names * 2 // 5), max(11, names * 3 // 10)
    first = f"{fit(rung, rung_width)} {fit(short_name(leader), name_width)} {fit(probability, PROBABILITY, 'right')}"
    second = f"{fit(short_name(rival), name_width)} {fit(lead, LEAD, 'right')}  {fit(bounds, BOUNDS)}"
    return f" {first} {second}".rstrip()


def _left(reading: LadderReading, width: int) -> list[Line]:
    """The next rung with its expected duration, and later ones."""
    upcoming = reading.next
    if upcoming is None:
        settled = bool(reading.steps) and reading.steps[-1].settled
        return [line(Span(f" {'settled' if settled else 'all rungs are done'}", Tone.DIM))] if reading.rungs else []
    duration = "unknown duration" if upcoming.seconds is None else f"about {format_duration(upcoming.seconds)}"
    state = f"{len(upcoming.active)} queued or running" if upcoming.active else f"enter runs it, {duration}"
    later = [rung.name for rung in reading.rungs if not rung.done and rung is not upcoming]
    lines = [line(f" next: {upcoming.name}, {len(upcoming.to_run)} runs ({state})")]
    if upcoming.blockers:
        lines += [line(Span(f" {text}", Tone.WARN)) for text in wrap(upcoming.blockers[0].advice, width - 2)]
    return [*lines, line(Span(f" later: {', '.join(later)}", Tone.DIM))] if later else lines
