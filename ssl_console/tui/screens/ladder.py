"""The ladder of a dataset: who leads after every rung, the rung that runs, and the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ssl_console.operations.ladder import RUNGS, LadderRequest, ladder_steps, plan_rungs
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.stages import StagesDialog
from ssl_console.tui.style.text import Line
from ssl_console.tui.views.ladder import PRESETS, LadderReading, ladder_command, ladder_lines, suite_rungs
from ssl_console.tui.views.stages import Surroundings
from tasks.catalog.protocols import PROTOCOLS


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
        "Every line is one protocol more, the cheapest first. P is the probability that the leader is the best over "
        "the protocols so far; bounds of its lead hold however often you look. Presets are those of the suite that "
        "is shown, where it has the protocol."
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
        """Presets of the suite, the default ones, or short trainings."""
        self._presets = PRESETS[(PRESETS.index(self._presets) + 1) % len(PRESETS)]
        self.going, self.reading = False, None
        self.action_refresh()
