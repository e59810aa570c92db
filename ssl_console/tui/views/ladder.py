"""The ladder of a dataset as lines: steps, sentences, and the presets of its rungs. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ssl_console.analysis.ladder import LadderStep
from ssl_console.analysis.ladder_sentences import interaction_sentence, step_row, verdict_sentence
from ssl_console.operations.ladder import RUNGS, Alternative, PlannedRung
from ssl_console.operations.stages import next_stage
from ssl_console.tui.style.text import Line, Span, Tone, fit, fit_middle, line, wrap
from ssl_console.tui.views.paired_tests import short_name

ABOUT = (
    "From cheap to expensive protocols, until it is certain which backbone leads on average: bounds and verdicts hold "
    "however often you look, together in 95 % of ladders."
)
HEADINGS = ("rung", "leader", "P", "ahead of", "by", "certain bounds")
PROBABILITY, LEAD, BOUNDS, GAPS = 4, 6, 15, 7
"""Widths of the columns, in cells, and of the gaps between all columns; names take the rest."""
Presets = Literal["suite", "default", "small"]
PRESETS: tuple[Presets, ...] = ("suite", "default", "small")


@dataclass(frozen=True)
class LadderReading:
    """The ladder as the stored results show it."""

    steps: tuple[LadderStep, ...]
    rungs: tuple[PlannedRung, ...]

    @property
    def settled(self) -> bool:
        """Whether further rungs are unnecessary."""
        return bool(self.steps) and self.steps[-1].settled

    @property
    def left(self) -> tuple[PlannedRung, ...]:
        """The rungs to run, the next one first; none when the ladder is settled, or all of them are done."""
        first = None if self.settled else next_stage(self.rungs)
        return (first, *(one for one in self.rungs if not one.done and one is not first)) if first else ()


def suite_rungs(
    columns: Iterable[tuple[str, str]], preset_exists: Callable[[str, str], bool]
) -> tuple[tuple[tuple[Alternative, ...], ...], str | None]:
    """Rungs with the presets of a suite's (task, variant) columns, and the preset of protocols that it lacks.

    Protocols that the suite has come with its preset, and replace other alternatives of their rung.
    """
    presets: dict[str, str] = {}
    for task, variant in columns:
        protocol = task.partition("/")[0]
        if preset_exists(protocol, variant):
            presets.setdefault(protocol, variant)
    rungs: list[tuple[Alternative, ...]] = []
    for alternatives in RUNGS:
        own = tuple(dict.fromkeys((name, presets[name]) for name, _ in alternatives if name in presets))
        rungs.append(own or alternatives)
    return tuple(rungs), "small" if "small" in presets.values() else None


def ladder_command(
    backbones: Sequence[str], dataset: str, rungs: Sequence[PlannedRung] = (), presets: Presets = "default"
) -> str:
    """Equivalent command line; rungs are named where their presets are those of a suite."""
    words = [word for name in backbones for word in ("-b", name)]
    words += ["--data", dataset]
    words += ["--preset", "small"] if presets == "small" else []
    if presets == "suite":
        words += [word for one in rungs for word in ("--rung", f"{one.task.protocol}:{one.task.preset}")]
    return shlex.join(["ssl-console", "ladder", *words])


def ladder_lines(reading: LadderReading, backbones: Sequence[str], width: int, presets: str = "") -> list[Line]:
    """The table of steps and the sentences about the last of them."""
    about = f"{', '.join(backbones)}. {ABOUT}"
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(about, width - 2)]
    if presets:
        lines.append(line(Span(f" presets: {presets}", Tone.ACCENT), Span("  p chooses others", Tone.DIM)))
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
    if not reading.left and reading.rungs:
        lines += [(), line(Span(f" {'settled' if reading.settled else 'all rungs are done'}", Tone.DIM))]
    return lines


def _cells(texts: Sequence[str], width: int) -> str:
    rung, leader, probability, rival, lead, bounds, *_ = texts
    names = width - PROBABILITY - LEAD - BOUNDS - GAPS
    rung_width, name_width = max(16, names * 2 // 5), max(11, names * 3 // 10)
    leading = f"{fit_middle(short_name(leader), name_width)} {fit(probability, PROBABILITY, 'right')}"
    behind = f"{fit_middle(short_name(rival), name_width)} {fit(lead, LEAD, 'right')}  {fit(bounds, BOUNDS)}"
    return f" {fit_middle(rung, rung_width)} {leading} {behind}".rstrip()
