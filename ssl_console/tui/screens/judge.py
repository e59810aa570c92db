"""Judging a backbone against another: one look after every dataset, and the dataset that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ssl_console.analysis.judgement import DEFAULT_MARGIN, judge
from ssl_console.analysis.statistics.sequential import share_of_error
from ssl_console.operations.judge import JudgeRequest, judged_tasks, plan_datasets
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.stages import StagesDialog
from ssl_console.tui.style.text import Line
from ssl_console.tui.views.judge import JudgeReading, judge_command, judge_lines
from ssl_console.tui.views.stages import Surroundings

MARGINS = (DEFAULT_MARGIN, 1.0, 2.0, 5.0, 0.25)
"""Points, in the order of the key."""


def read_judgement(
    session: Session, names: tuple[str, str], suite: str | None, tasks: Sequence[str], margin: float
) -> JudgeReading:
    """One look after every dataset that has results of both. Raises ConsoleError."""
    first, second = (session.backbones.get(name) for name in names)
    specs = session.tasks.select(() if suite else tasks, suite)
    stages = plan_datasets(session, JudgeRequest(first, second, tuple(specs), margin))
    stored = {result.run_id: result for result in session.badged_results()}
    done = [stage for stage in stages if stage.done and stage.is_stored(stored)]
    judged, looks = [], []
    for stage in done:
        judged += judged_tasks(session, names, stage.results(stored))
        found = judge(judged, margin, share_of_error(len(stages)))
        if found is not None:
            looks.append((stage.name, found))
    return JudgeReading(tuple(looks), tuple(stages))


class JudgeDialog(StagesDialog[JudgeReading]):
    """Whether one backbone is better than another over the tasks of a suite."""

    WHAT = "judgement"
    BINDINGS: ClassVar = bindings("judge")
    HELP_TEXT = (
        "Whether the first backbone is better than the second on average, on other images of the same datasets: one "
        "look after every dataset, until the answer is certain. The margin is the largest difference that does not "
        "matter. Tasks whose scores are no percentages do not count."
    )

    def __init__(self, names: tuple[str, str], suite: str | None, tasks: Sequence[str]) -> None:
        super().__init__()
        self._names, self._suite, self._tasks = names, suite, tuple(tasks)
        self._margin = MARGINS[0]

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

    def command(self) -> str:
        return judge_command(*self._names, self._suite, self._tasks, self._margin)

    def action_margin(self) -> None:
        """The next margin."""
        self._margin = MARGINS[(MARGINS.index(self._margin) + 1) % len(MARGINS)]
        self.going = False
        self.action_refresh()
