"""Dialogs that decide between backbones while runs deliver results: race, judgement and ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, get_args

from ssl_console.analysis.judgement import DEFAULT_MARGIN
from ssl_console.analysis.race import Goal
from ssl_console.operations.choose import Race, RaceProgress
from ssl_console.operations.judge import JudgeLooks, JudgeRequest, next_part, plan_datasets
from ssl_console.operations.ladder import RUNGS, LadderRequest, ladder_steps, plan_rungs
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.planning.duration import format_duration
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.stages import StagesDialog
from ssl_console.tui.style.text import Line, Span, Tone, line
from ssl_console.tui.views.race import RaceReading, choice_lines, contender_lines, race_command, rung_charts
from ssl_console.tui.views.stages import Surroundings, failed_runs
from ssl_console.tui.views.verdicts import (
    PRESETS,
    JudgeReading,
    LadderReading,
    judge_command,
    judge_lines,
    ladder_command,
    ladder_lines,
    suite_rungs,
)
from ssl_console.workspace.requests import NotPossible
from tasks.catalog.protocols import PROTOCOLS

GOALS: tuple[Goal, ...] = get_args(Goal)
HOURS = (1.0, 4.0, 12.0, 24.0, 72.0)
MARGINS = (DEFAULT_MARGIN, 1.0, 2.0, 5.0, 0.25)
"""Points, in the order of the key."""
LOOK_TICKS = 2
"""Ticks between two looks at a task that is being scored."""


@dataclass(frozen=True)
class RaceQuestion:
    """Backbones, the dataset for which one is chosen, and the preset of protocols that have it."""

    backbones: tuple[str, ...]
    dataset: str
    preset: str | None = None


def read_race_of(session: Session, asked: RaceQuestion, goal: Goal, hours: float, *, write: bool) -> RaceReading:
    """The rounds whose results are stored, and the next one; `write` stores the record in the workspace.

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
        "Choice of a backbone for the dataset. Cheap protocols run on all, the target protocol on at most three. A "
        "line of the chart is the range that a backbone may still reach under the target, in points ahead of the "
        "leader; one that ends left of the leader is pruned. Enter runs the next protocol, a runs all of them while "
        "this is open; queued runs continue without it."
    )

    def __init__(self, asked: RaceQuestion) -> None:
        super().__init__()
        self._asked = asked
        self._goal, self._hours = GOALS[0], HOURS[0]
        self._started: float | None = None
        """Time at which the first runs of this dialog were queued."""

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
        budget = self._hours * 3600.0
        left = f"{format_duration(max(0.0, budget - used))} left of {format_duration(budget)}"
        head = line(
            Span(f" for {self._goal}", Tone.ACCENT), Span("  f changes it   ", Tone.DIM),
            Span(left, Tone.ACCENT), Span("  t changes it", Tone.DIM),
        )  # fmt: skip
        return [head, *choice_lines(reading.record, around.width)]

    def below(self, reading: RaceReading, around: Surroundings) -> list[Line]:
        charts = rung_charts(reading.record, around.width, around.glyphs)
        table = contender_lines(reading.record, around.width)
        return [*chain(*charts[:1]), *table, *chain(*charts[1:])]

    def refusal(self, stage: PlannedStage) -> str:
        now = host(self).clock()
        left = self._hours * 3600.0 - (0.0 if self._started is None else now - self._started)
        if left > 0 and (stage.seconds or 0.0) <= left:
            return ""
        need = "unknown" if stage.seconds is None else format_duration(stage.seconds)
        return f"{stage.name} takes {need}, and {format_duration(max(0.0, left))} of the budget is left: t raises it"

    def submit(self, stage: PlannedStage) -> None:
        """Queue the runs; the budget counts from the first time on."""
        self._started = host(self).clock() if self._started is None else self._started
        super().submit(stage)

    def command(self) -> str:
        return race_command(self.reading.record, self._hours, self._asked.preset) if self.reading else ""

    def action_goal(self) -> None:
        """Switch to the next goal."""
        self._goal = GOALS[(GOALS.index(self._goal) + 1) % len(GOALS)]
        self.action_refresh()

    def action_hours(self) -> None:
        """Switch to the next time budget."""
        self._hours = HOURS[(HOURS.index(self._hours) + 1) % len(HOURS)]
        self.draw()


def read_judgement(
    session: Session, names: tuple[str, str], suite: str | None, tasks: Sequence[str], margin: float
) -> JudgeReading:
    """One look after every dataset that has results of both, and one at the task that is being scored. Raises
    ConsoleError.
    """
    first, second = (session.backbones.get(name) for name in names)
    specs = session.tasks.select(() if suite else tasks, suite)
    request = JudgeRequest(first, second, tuple(specs), margin)
    stages = plan_datasets(session, request)
    return JudgeReading(tuple(JudgeLooks(session, request, stages).after_each()), tuple(stages))


class JudgeDialog(StagesDialog[JudgeReading]):
    """Whether one backbone is better than another over the tasks of a suite."""

    WHAT = "judgement"
    BINDINGS: ClassVar = bindings("judge")
    HELP_TEXT = (
        "Test of whether the first backbone is better than the second on average, on other images of the same "
        "datasets. It is repeated after every dataset, until the answer is certain. The test images of kNN, linear, "
        "layers and attentive are scored in random order, and the run ends as soon as the answer is certain; answers "
        "to a part of the images are never stored as a score. The margin is the largest difference that does not "
        "matter. Tasks whose scores are not percentages are not counted."
    )

    def __init__(self, names: tuple[str, str], suite: str | None, tasks: Sequence[str]) -> None:
        super().__init__()
        self._names, self._suite, self._tasks = names, suite, tuple(tasks)
        self._margin = MARGINS[0]
        self._started = ""
        """Dataset whose runs were requested: its parts follow one another."""
        self._in_parts: tuple[str, ...] = ()
        """Runs that this dialog has queued and that end once the answer is certain."""
        self._ticks = 0

    @property
    def title_text(self) -> str:
        return f"Judgement over {f'suite {self._suite}' if self._suite else f'{len(self._tasks)} tasks'}"

    def reader(self) -> Callable[[Session], JudgeReading]:
        names, suite, tasks, margin = self._names, self._suite, self._tasks, self._margin
        return lambda session: read_judgement(session, names, suite, tasks, margin)

    def stages_left(self, reading: JudgeReading) -> Sequence[PlannedStage]:
        return reading.left

    def content(self, reading: JudgeReading, around: Surroundings) -> list[Line]:
        return judge_lines(reading, self._names, self._margin, around.width, around.glyphs)

    def submit(self, stage: PlannedStage) -> None:
        """Queue the next runs of a dataset."""
        self._started = stage.name
        part = next_part(stage, self._names[0])
        self._in_parts = tuple(run.run_id for run in part.runs if run.in_parts and run.run_id)
        super().submit(part)

    def _tick(self) -> None:
        """Look at the images that were scored since the last look."""
        self._ticks += 1
        if self._in_parts and not self._busy and self._ticks % LOOK_TICKS == 0:
            self.action_refresh()
        else:
            super()._tick()

    def _go_on(self) -> None:
        """End the run whose images are enough, or continue with the dataset that was begun."""
        reading, stage = self.reading, self._stage
        if self._in_parts and reading is not None and not reading.left:
            run_ids, self._in_parts, session = self._in_parts, (), host(self).backend.session

            def end() -> None:
                with suppress(NotPossible):  # they may have ended meanwhile
                    session.cancel(*run_ids)

            host(self).in_background(end, lambda _: None, group="end judged runs")
        failed = failed_runs(self._submitted, host(self).state.runs)
        if stage is None or failed or stage.name != self._started:
            self._in_parts = ()
        elif stage.to_run and not (stage.active or self._submitting or self.going):
            self.submit(stage)
        super()._go_on()

    def command(self) -> str:
        return judge_command(*self._names, self._suite, self._tasks, self._margin)

    def action_margin(self) -> None:
        """Switch to the next margin."""
        self._margin = MARGINS[(MARGINS.index(self._margin) + 1) % len(MARGINS)]
        self.going = False
        self.action_refresh()


def read_ladder(
    session: Session, backbones: Sequence[str], dataset: str, columns: Sequence[tuple[str, str]], preset: str | None
) -> LadderReading:
    """Plan the rungs and test what is stored; `columns` are those of the suite whose presets are used.

    Raises ConsoleError.
    """
    cards = tuple(session.backbones.get(name) for name in backbones)
    rungs, of_suite = suite_rungs(columns, has_preset) if columns else (RUNGS, None)
    request = LadderRequest(cards, session.tasks.dataset(dataset), preset or of_suite, rungs=rungs)
    planned = plan_rungs(session, request, check=False)
    return LadderReading(tuple(ladder_steps(session, planned)), tuple(planned))


def has_preset(protocol: str, variant: str) -> bool:
    """Whether a variant of results is a preset of the protocol."""
    return protocol in PROTOCOLS and variant in PROTOCOLS[protocol].presets


class LadderDialog(StagesDialog[LadderReading]):
    """Steps of a ladder, its verdict so far, and its rungs."""

    WHAT = "ladder"
    BINDINGS: ClassVar = bindings("ladder")
    HELP_TEXT = (
        "Each line adds one protocol, the cheapest first. P is the probability that the leader is the best over the "
        "protocols so far; the bounds of its lead remain valid however often they are inspected. Presets are those of "
        "the suite that is shown, where it has the protocol."
    )

    def __init__(self, backbones: tuple[str, ...], dataset: str) -> None:
        super().__init__()
        self._backbones, self._dataset = backbones, dataset
        self._presets = PRESETS[0]

    @property
    def title_text(self) -> str:
        return f"Ladder on {self._dataset}"

    def reader(self) -> Callable[[Session], LadderReading]:
        state, presets = host(self).state, self._presets
        suite = state.catalogue.suite.get(state.suite or "") if presets == "suite" else None
        columns, preset = suite.columns if suite else (), "small" if presets == "small" else None
        backbones, dataset = self._backbones, self._dataset
        return lambda session: read_ladder(session, backbones, dataset, columns, preset)

    def stages_left(self, reading: LadderReading) -> Sequence[PlannedStage]:
        return reading.left

    def content(self, reading: LadderReading, around: Surroundings) -> list[Line]:
        suite = around.state.suite
        presets = self._presets if self._presets != "suite" else f"those of suite {suite}" if suite else "default"
        return ladder_lines(reading, self._backbones, around.width, presets)

    def command(self) -> str:
        rungs = self.reading.rungs if self.reading else ()
        presets = self._presets if host(self).state.suite or self._presets != "suite" else "default"
        return ladder_command(self._backbones, self._dataset, rungs, presets)

    def action_presets(self) -> None:
        """Switch between the presets of the suite, the default ones, and short trainings."""
        self._presets = PRESETS[(PRESETS.index(self._presets) + 1) % len(PRESETS)]
        self.going, self.reading = False, None
        self.action_refresh()
