"""The judgement of a backbone against another as lines. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ssl_console.analysis.judgement import Answer, Judgement, judgement_sentence
from ssl_console.operations.stages import PlannedStage, next_stage
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, fit_middle, line, wrap

ABOUT = (
    "One dataset after another, the cheapest first, until the answer is certain: better, not better by the margin, or "
    "equal within it. The bounds hold however often you look, together in 95 % of judgements."
)
TONES: dict[Answer, Tone] = {
    "better": Tone.GOOD,
    "not better": Tone.BAD,
    "practically equal": Tone.ACCENT,
    "needs more": Tone.DIM,
}
NAME, LEAD, BOUNDS, ANSWER = 26, 6, 15, 17
"""Widths of the columns in cells."""
SCALE = (10, 30)
"""Smallest and largest width of the scale."""


@dataclass(frozen=True)
class JudgeReading:
    """What the stored results show: one look after every dataset."""

    looks: tuple[tuple[str, Judgement], ...]
    """Name of the dataset, and the judgement over all datasets up to it."""
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
    lines.append(line(Span(f" margin {margin:g} points", Tone.ACCENT), Span("  m chooses another", Tone.DIM)))
    lines += [line(Span(f" {text}", Tone.DIM)) for text in wrap(ABOUT, width - 2)]
    room = max(10, min(NAME, width - LEAD - BOUNDS - ANSWER - 6))
    scale = min(SCALE[1], width - room - LEAD - BOUNDS - ANSWER - 7)
    head = (
        f" {fit('after', room)} {fit('lead', LEAD, 'right')}  {fit('certain bounds', BOUNDS)} {fit('answer', ANSWER)}"
    )
    lines += [(), line(Span(head, Tone.DIM))]
    reach = max((abs(end) for _, one in reading.looks for end in (one.test.low, one.test.high)), default=1.0)
    lines += [_look(fit_middle(name, room), one, scale, max(reach, margin), glyphs) for name, one in reading.looks]
    last = reading.judgement
    if last is None:
        return [*lines, line(Span(" no dataset has results of both that judge yet", Tone.DIM))]
    sentence = judgement_sentence(first, second, last)
    lines += [(), *(line(Span(f" {text}", TONES[last.answer])) for text in wrap(sentence, width - 2))]
    if last.left_out:
        left_out = f"not part of the mean, because the scores are no percentages: {', '.join(last.left_out)}"
        lines += [line(Span(f" {text}", Tone.DIM)) for text in wrap(left_out, width - 2)]
    return lines


def _look(name: str, one: Judgement, scale: int, reach: float, glyphs: Glyphs) -> Line:
    bounds = f"{one.test.low:+.1f} to {one.test.high:+.1f}"
    cells = f" {name} {fit(f'{one.test.difference:+.1f}', LEAD, 'right')}  {fit(bounds, BOUNDS)} "
    drawn = _scale(one, scale, reach, glyphs) if scale >= SCALE[0] else ""
    return line(cells, Span(fit(one.answer, ANSWER), TONES[one.answer]), Span(f" {drawn}", Tone.ACCENT))


def _scale(one: Judgement, width: int, reach: float, glyphs: Glyphs) -> str:
    """The bounds on a scale from minus to plus `reach` points, with a mark at 0 and at the lead."""

    def column(points: float) -> int:
        return min(width - 1, max(0, round((points / reach + 1) / 2 * (width - 1))))

    low, lead, high = column(one.test.low), column(one.test.difference), column(one.test.high)
    cells = [glyphs.rule if low <= cell <= high else glyphs.empty for cell in range(width)]
    cells[column(0.0)] = glyphs.rule_down
    cells[lead] = glyphs.markers[0]
    return "".join(cells)
