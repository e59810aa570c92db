"""Judgement of a backbone against another, and ladder of a dataset, as lines. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ssl_console.analysis.badged_results import MarkedScore, mark_sentences
from ssl_console.analysis.judgement import Answer, Judgement, judgement_sentence
from ssl_console.analysis.ladder import LadderStep
from ssl_console.analysis.ladder_sentences import interaction_sentence, step_row, verdict_sentence
from ssl_console.operations.judge import whole_test_sentence
from ssl_console.operations.ladder import RUNGS, Alternative, PlannedRung
from ssl_console.operations.stages import PlannedStage, next_stage
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, fit_middle, line, wrap
from ssl_console.tui.views.paired_tests import short_name

LADDER_ABOUT = (
    "Protocols from cheap to expensive, until it is certain which backbone leads on average. Bounds and verdicts "
    "remain valid however often they are inspected, jointly in 95 % of ladders."
)
LADDER_HEADINGS = ("rung", "leader", "P", "ahead of", "by", "certain bounds")
LADDER_PROBABILITY, LADDER_LEAD, LADDER_BOUNDS, LADDER_GAPS = 4, 6, 15, 7
"""Widths of the columns, in cells, and of the gaps between all columns; names take the rest."""
Presets = Literal["suite", "default", "small"]
PRESETS: tuple[Presets, ...] = ("suite", "default", "small")
JUDGE_ABOUT = (
    "One dataset after another, the cheapest first, and image by image, until the answer is certain: better, not "
    "better by the margin, or equal within it. Bounds remain valid however often they are inspected, jointly in 95 % "
    "of judgements."
)
TONES: dict[Answer, Tone] = {
    "better": Tone.GOOD,
    "not better": Tone.BAD,
    "practically equal": Tone.ACCENT,
    "needs more": Tone.DIM,
}
JUDGE_NAME, JUDGE_LEAD, JUDGE_BOUNDS, JUDGE_ANSWER = 26, 6, 15, 17
"""Widths of the columns in cells."""
SCALE = (10, 30)
"""Smallest and largest width of the scale."""


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
    about = f"{', '.join(backbones)}. {LADDER_ABOUT}"
    lines = [line(Span(f" {text}", Tone.DIM)) for text in wrap(about, width - 2)]
    if presets:
        lines.append(line(Span(f" presets: {presets}", Tone.ACCENT), Span("  p changes them", Tone.DIM)))
    lines += [(), line(Span(_cells(LADDER_HEADINGS, width), Tone.DIM))]
    for step in reading.steps:
        tone = Tone.GOOD if step.settled else Tone.PLAIN
        lines.append(line(Span(_cells(step_row(step), width), tone)))
    if reading.steps:
        last = reading.steps[-1]
        sentences = f"{verdict_sentence(last)} {interaction_sentence(last)}"
        lines += [(), *(line(f" {text}") for text in wrap(sentences, width - 2))]
    else:
        lines.append(line(Span(" no rung has results of all backbones yet", Tone.DIM)))
    lines += mark_lines((score for step in reading.steps for score in step.rung.marked), width)
    if not reading.left and reading.rungs:
        lines += [(), line(Span(f" {'settled' if reading.settled else 'all rungs are done'}", Tone.DIM))]
    return lines


def _cells(texts: Sequence[str], width: int) -> str:
    rung, leader, probability, rival, lead, bounds, *_ = texts
    names = width - LADDER_PROBABILITY - LADDER_LEAD - LADDER_BOUNDS - LADDER_GAPS
    rung_width, name_width = max(16, names * 2 // 5), max(11, names * 3 // 10)
    leading = f"{fit_middle(short_name(leader), name_width)} {fit(probability, LADDER_PROBABILITY, 'right')}"
    behind = (
        f"{fit_middle(short_name(rival), name_width)} {fit(lead, LADDER_LEAD, 'right')}  {fit(bounds, LADDER_BOUNDS)}"
    )
    return f" {fit_middle(rung, rung_width)} {leading} {behind}".rstrip()


@dataclass(frozen=True)
class JudgeReading:
    """The judgement as the stored results show it: one look after every dataset."""

    looks: tuple[tuple[str, Judgement], ...]
    """Name of the dataset, or of the task that was judged on a part of its images; and the judgement up to it."""
    stages: tuple[PlannedStage, ...]

    @property
    def judgement(self) -> Judgement | None:
        """The newest one."""
        return self.looks[-1][1] if self.looks else None

    @property
    def left(self) -> tuple[PlannedStage, ...]:
        """Datasets to evaluate, the next one first; none once the answer is final."""
        final = self.judgement is not None and self.judgement.final
        first = None if final else next_stage(self.stages)
        return (first, *(one for one in self.stages if not one.done and one is not first)) if first else ()


def judge_command(first: str, second: str, suite: str | None, tasks: Sequence[str], margin: float) -> str:
    """Equivalent command line."""
    chosen = ["--suite", suite] if suite else [word for task in tasks for word in ("-t", task)]
    return shlex.join(["ssl-console", "judge", first, "--against", second, *chosen, "--margin", f"{margin:g}"])


def judge_lines(reading: JudgeReading, names: tuple[str, str], margin: float, width: int, glyphs: Glyphs) -> list[Line]:
    """The looks as a table, the lead on a scale, and the answer in words."""
    first, second = names
    lines = [line(Span(f" {first}", Tone.STRONG), Span(" against ", Tone.DIM), Span(second, Tone.STRONG))]
    points = "point" if margin == 1 else "points"
    lines.append(line(Span(f" margin {margin:g} {points}", Tone.ACCENT), Span("  m changes it", Tone.DIM)))
    whole = whole_test_sentence(run.candidate.task for stage in reading.stages for run in stage.runs)
    about = (*wrap(JUDGE_ABOUT, width - 2), *wrap(whole, width - 2))
    lines += [line(Span(f" {text}", Tone.DIM)) for text in about if text]
    room = max(10, min(JUDGE_NAME, width - JUDGE_LEAD - JUDGE_BOUNDS - JUDGE_ANSWER - 6))
    scale = min(SCALE[1], width - room - JUDGE_LEAD - JUDGE_BOUNDS - JUDGE_ANSWER - 7)
    head = f" {fit('after', room)} {fit('lead', JUDGE_LEAD, 'right')}  {fit('certain bounds', JUDGE_BOUNDS)}"
    head += f" {fit('answer', JUDGE_ANSWER)}"
    lines += [(), line(Span(head, Tone.DIM))]
    reach = max((abs(end) for _, one in reading.looks for end in (one.test.low, one.test.high)), default=1.0)
    lines += [_look(fit_middle(name, room), one, scale, max(reach, margin), glyphs) for name, one in reading.looks]
    last = reading.judgement
    if last is None:
        return [*lines, line(Span(" no dataset has comparable results of both backbones yet", Tone.DIM))]
    sentence = judgement_sentence(first, second, last)
    lines += [(), *(line(Span(f" {text}", TONES[last.answer])) for text in wrap(sentence, width - 2))]
    if last.left_out:
        left_out = f"not part of the mean, because the scores are not percentages: {', '.join(last.left_out)}"
        lines += [line(Span(f" {text}", Tone.DIM)) for text in wrap(left_out, width - 2)]
    return [*lines, *mark_lines(last.marked, width)]


def mark_lines(marked: Iterable[MarkedScore], width: int) -> list[Line]:
    """The marks of scores with their meaning, and the scores."""
    sentences = mark_sentences(list(marked))
    return [line(Span(f" {text}", Tone.WARN)) for sentence in sentences for text in wrap(sentence, width - 2)]


def _look(name: str, one: Judgement, scale: int, reach: float, glyphs: Glyphs) -> Line:
    bounds = f"{one.test.low:+.1f} to {one.test.high:+.1f}"
    cells = f" {name} {fit(f'{one.test.difference:+.1f}', JUDGE_LEAD, 'right')}  {fit(bounds, JUDGE_BOUNDS)} "
    drawn = _scale(one, scale, reach, glyphs) if scale >= SCALE[0] else ""
    return line(cells, Span(fit(one.answer, JUDGE_ANSWER), TONES[one.answer]), Span(f" {drawn}", Tone.ACCENT))


def _scale(one: Judgement, width: int, reach: float, glyphs: Glyphs) -> str:
    """The bounds on a scale from minus to plus `reach` points, with a mark at 0 and at the lead."""

    def column(points: float) -> int:
        return min(width - 1, max(0, round((points / reach + 1) / 2 * (width - 1))))

    low, lead, high = column(one.test.low), column(one.test.difference), column(one.test.high)
    cells = [glyphs.rule if low <= cell <= high else glyphs.empty for cell in range(width)]
    cells[column(0.0)] = glyphs.rule_down
    cells[lead] = glyphs.markers[0]
    return "".join(cells)
