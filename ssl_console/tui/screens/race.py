"""Choosing a backbone for a dataset: the race, drawn while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

from ssl_console.analysis.race import Goal
from ssl_console.operations.choose import Race
from ssl_console.operations.ladder import LadderRequest
from ssl_console.operations.race_progress import RaceProgress
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.planning.duration import format_duration
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.stages import StagesDialog
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views.race import RaceReading, chart_lines, outcome_lines, race_command
from ssl_console.tui.views.stages import Surroundings

GOALS: tuple[Goal, ...] = get_args(Goal)
HOURS = (1.0, 4.0, 12.0, 24.0, 72.0)


@dataclass(frozen=True)
class RaceQuestion:
    """Backbones, the dataset for which one is chosen, and the preset of protocols that have it."""

    backbones: tuple[str, ...]
    dataset: str
    preset: str | None = None


def read_race_of(session: Session, asked: RaceQuestion, goal: Goal, hours: float, *, write: bool) -> RaceReading:
    """The rounds whose results are stored, and the next one; `write` keeps the record in the workspace.

    Raises ConsoleError.
    """
    cards = tuple(session.backbones.get(name) for name in asked.backbones)
    race = Race(session, LadderRequest(cards, session.tasks.dataset(asked.dataset), asked.preset))
    progress = RaceProgress(race, goal, hours * 3600.0)
    stage = None
    while not race.over:
        stage = race.next_rung()
        stored = {result.run_id: result for result in session.results()}
        if not (stage.done and stage.is_stored(stored)):
            break
        race.take(stage)
        stage = None
    running = stage if stage is not None and stage.active else None
    make = progress.write if write and race.rounds else progress.record
    return RaceReading(make(running, ended=stage is None), stage)


class RaceDialog(StagesDialog[RaceReading]):
    """The race of backbones for a dataset."""

    WHAT = "race"
    BINDINGS: ClassVar = bindings("race")
    HELP_TEXT = (
        "Which backbone to take for the dataset. Cheap protocols run on all, the target protocol on at most three. A "
        "line of the chart is what the target may still give a backbone, in points ahead of the leader; one that ends "
        "left of the leader is pruned. Enter runs the next protocol, a runs all of them while this is open; queued "
        "runs continue without it."
    )

    def __init__(self, asked: RaceQuestion) -> None:
        super().__init__()
        self._asked = asked
        self._goal, self._hours = GOALS[0], HOURS[0]
        self._started: float | None = None
        """When the first runs of this dialog were queued."""

    @property
    def title_text(self) -> str:
        return f"Choose a backbone for {self._asked.dataset}"

    def reader(self) -> Callable[[Session], RaceReading]:
        asked, goal, hours = self._asked, self._goal, self._hours
        write = self._started is not None
        return lambda session: read_race_of(session, asked, goal, hours, write=write)

    def stages_left(self, reading: RaceReading) -> Sequence[PlannedStage]:
        return [reading.stage] if reading.stage is not None else []

    def content(self, reading: RaceReading, around: Surroundings) -> list[Line]:
        used = 0.0 if self._started is None else around.now - self._started
        budget = f"{format_duration(max(0.0, self._hours * 3600.0 - used))} of {self._hours:g} h left"
        head = line(
            Span(f" for {self._goal}", Tone.ACCENT), Span("  f changes it   ", Tone.DIM),
            Span(budget, Tone.ACCENT), Span("  t changes it", Tone.DIM),
        )  # fmt: skip
        return [head, *outcome_lines(reading.record, around.width)]

    def below(self, reading: RaceReading, around: Surroundings) -> list[Line]:
        return chart_lines(reading.record, around.width, around.glyphs)

    def refusal(self, stage: PlannedStage) -> str:
        now = host(self).clock()
        left = self._hours * 3600.0 - (0.0 if self._started is None else now - self._started)
        if left > 0 and (stage.seconds or 0.0) <= left:
            return ""
        need = "unknown" if stage.seconds is None else format_duration(stage.seconds)
        return f"{stage.name} takes {need}, and {format_duration(max(0.0, left))} of the budget are left: t raises it"

    def submit(self, stage: PlannedStage) -> None:
        """Queue the runs; the budget counts from the first time on."""
        self._started = host(self).clock() if self._started is None else self._started
        super().submit(stage)

    def command(self) -> str:
        return race_command(self.reading.record, self._hours, self._asked.preset) if self.reading else ""

    def action_goal(self) -> None:
        """The next goal."""
        self._goal = GOALS[(GOALS.index(self._goal) + 1) % len(GOALS)]
        self.action_refresh()

    def action_hours(self) -> None:
        """The next time budget."""
        self._hours = HOURS[(HOURS.index(self._hours) + 1) % len(HOURS)]
        self.draw()
