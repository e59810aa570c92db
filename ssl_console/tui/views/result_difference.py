"""Differences between two results as lines: those that affect the score, and those that should not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, line, wrap
from ssl_console.workspace.result import Result

if TYPE_CHECKING:
    from ssl_console.analysis.result_diff import Change, FieldDifference, Group

TITLES: dict[Group, str] = {
    "made of": "parts of the key, which affect the score",
    "run by": "code, packages and machine, which should not",
    "came out": "selected hyperparameters, and the scores",
}
LONGEST = 60


def difference_lines(found: FieldDifference, width: int, glyphs: Glyphs) -> list[Line]:
    """The summary, then all differences in three groups."""
    first, second = found.first.result, found.second.result
    lines = [line(Span(f" {text}", Tone.STRONG)) for text in wrap(found.sentence, width - 2)]
    lines += [(), line(Span(f" {about(first)}", Tone.DIM)), line(Span(f" {about(second)}", Tone.DIM))]
    for group, title in TITLES.items():
        changes = found.of(group)
        if changes:
            lines += [(), line(Span(f" {title}", Tone.TITLE))]
            lines += [shown for change in changes for shown in _change(change, width, glyphs)]
    return lines


def _change(change: Change, width: int, glyphs: Glyphs) -> list[Line]:
    before, after = (_short(value, glyphs) for value in (change.first, change.second))
    texts = wrap(f"{before} {glyphs.right} {after}", max(20, width - 32))
    head = fit(change.name, 28, ellipsis=glyphs.ellipsis)
    return [line(Span(f"  {head if not number else ' ' * 28} ", Tone.DIM), text) for number, text in enumerate(texts)]


def _short(value: object, glyphs: Glyphs) -> str:
    text = glyphs.none if value is None else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + glyphs.ellipsis


def about(result: Result) -> str:
    """A result in one line."""
    task = f"{result.task} [{result.variant}], seed {result.seed}"
    return f"{result.run_id}  {result.backbone} on {task}: {result.value:.2f}"


def candidates(result: Result, results: tuple[Result, ...]) -> list[Result]:
    """Results to compare with: those of the same backbone and task first, then of the same task, newest first."""
    others = [
        one for one in results if one.run_id != result.run_id and one.task == result.task and one.source == "mine"
    ]
    return sorted(others, key=lambda one: (one.backbone != result.backbone, -one.finished))
