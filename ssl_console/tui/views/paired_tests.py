"""Paired tests of a comparison as lines: numbers, forest plot and summary. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssl_console.analysis.ranking_cell import seeds_text
from ssl_console.analysis.statistics.distributions import format_p
from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Line, Span, Tone, fit, length, line, wrap, wrap_line
from ssl_console.workspace.badges import ADVICE, marks
from tasks.catalog.protocol import POINT

if TYPE_CHECKING:
    from ssl_console.analysis.comparison import Comparison, TaskComparison
    from ssl_console.analysis.statistics.paired_tests import PairedTest

TONES = {"better": Tone.GOOD, "worse": Tone.BAD, "alike": Tone.DIM, "described": Tone.DIM}


@dataclass(frozen=True)
class PairedTests:
    """Comparisons of other backbones with the base, as far as computed."""

    by_backbone: Mapping[str, Comparison]

    def task(self, backbone: str, column: str | None) -> TaskComparison | None:
        """The test in one column, by its comparability key."""
        comparison = self.by_backbone.get(backbone)
        return None if comparison is None else next((task for task in comparison.tasks if task.column == column), None)

    def tone(self, backbone: str, column: str | None) -> Tone | None:
        """Tone of the verdict; None until it is computed."""
        task = self.task(backbone, column)
        return None if task is None else TONES[task.verdict]

    def about(self, backbone: str, column: str | None, width: int) -> list[Line]:
        """Numbers of the test under the cursor, and the summary over all tasks."""
        comparison = self.by_backbone.get(backbone)
        if comparison is None:
            return [line()]
        sentence = (line(f" {text}") for text in wrap(comparison.sentence, width - 2))
        return [*_numbers(self.task(backbone, column), width), *sentence]


def _numbers(task: TaskComparison | None, width: int) -> list[Line]:
    """The test, in one line if there is enough room, and its note."""
    if task is None:
        return [line()]
    test = task.test
    chance = f"{format_p(test.p_value)} (Holm {format_p(task.adjusted_p, '')}), effect {test.effect:+.2f}"
    first = line(
        Span(f" {task.task}  ", Tone.DIM),
        f"{test.difference:+.2f} ({test.low:+.2f} to {test.high:+.2f})",
        Span(f"  {chance}", Tone.DIM),
    )
    more = line(
        Span(f"  {task.words}", Tone.DIM),
        Span(f"  smallest detectable difference {test.smallest:.1f}  {test.method}{_sample(task)}", Tone.DIM),
    )
    note = _doubts(task, width) + [
        line(Span(f" {text}", Tone.WARN)) for text in wrap(task.note, width - 2) if task.note
    ]
    numbers = [(*first, *more)] if length((*first, *more)) <= width else [first, more]
    return [*(part for one in numbers for part in wrap_line(one, width)), *note]


def _sample(task: TaskComparison) -> str:
    """Samples of the comparison, and its seeds, unless these are only test images."""
    drawn = seeds_text(task.protocol, sorted({*task.first.seeds, *task.second.seeds}))
    if task.first.unit == "episodes":
        return f", {task.test.n:,} images of the pool, {drawn}"
    return f", {drawn}" if task.one_training else ""


def _doubts(task: TaskComparison, width: int) -> list[Line]:
    """Warnings about either score."""
    badges = dict.fromkeys((*task.first.badges, *task.second.badges))
    texts = [text for name in badges for text in wrap(f"{marks([name])} {name}: {ADVICE.get(name, '')}", width - 2)]
    return [line(Span(f" {text}", Tone.WARN)) for text in texts]


LABEL_WIDTH = 22
NO_OTHER = "a comparison requires two measured backbones"
LEAST_AXIS = 20
"""Minimum width of the axis in cells; with less, the numbers are only shown below the table."""


def forest(
    tests: PairedTests, backbone: str, base: str, columns: Mapping[str, str | None], at: str, width: int, glyphs: Glyphs
) -> list[Line]:
    """The difference on every task with its interval, around a line at zero; `columns` are keys by label.

    Differences in other units than points cannot be drawn on that axis, so only their numbers are shown. The task at
    the cursor is marked. Colours are those of the verdicts, explained below the table.
    """
    found = {label: task for label, key in columns.items() if (task := tests.task(backbone, key)) is not None}
    if not found:
        known = backbone in tests.by_backbone
        text = "no task on which both have been measured" if known else "comparing ..." if backbone else NO_OTHER
        return [line(Span(f" {text}", Tone.DIM))]
    room = max(10, width - min(LABEL_WIDTH, width // 3) - 3)
    drawn = [task.test for task in found.values() if task.tolerance.unit == POINT.unit]
    numbers = 1 + max((len(_bounds(test)) for test in drawn), default=0)
    numbers = numbers if room > numbers + LEAST_AXIS else 0
    scale = _ForestScale.of([(test.low, test.high) for test in drawn], room - numbers)
    title = f" {short_name(backbone)} - {short_name(base)}, points, 95 % intervals"
    lines = [line(Span(title, Tone.DIM)), _axis(scale, width - room)]
    for label, task in found.items():
        mark = glyphs.right if label == at else " "
        head = Span(
            f"{mark}{fit(label, width - room - 2, ellipsis=glyphs.ellipsis)} ", Tone.STRONG if label == at else Tone.DIM
        )
        test, tone = task.test, TONES[task.verdict]
        text = _bounds(test)
        if task.tolerance.unit == POINT.unit:
            body = Span(scale.interval(test.low, test.difference, test.high, glyphs), tone)
            lines.append(line(head, body, Span(text.rjust(numbers) if numbers else "", Tone.DIM)))
        else:
            lines.append(line(head, Span(fit(f"{text} {task.tolerance.unit}", room, ellipsis=glyphs.ellipsis), tone)))
    return lines


def _bounds(test: PairedTest) -> str:
    return f"{test.difference:+.2f} ({test.low:+.2f} to {test.high:+.2f})"


@dataclass(frozen=True)
class _ForestScale:
    """Mapping of points to cells."""

    low: float
    high: float
    cells: int

    @classmethod
    def of(cls, intervals: Sequence[tuple[float, float]], cells: int) -> _ForestScale:
        """Scale that contains all tests and zero."""
        low, high = min([0.0, *(one[0] for one in intervals)]), max([0.0, *(one[1] for one in intervals)])
        margin = 0.02 * (high - low) or 1.0
        return cls(low - margin, high + margin, max(3, cells))

    def cell(self, value: float) -> int:
        """The cell of a value."""
        return min(self.cells - 1, max(0, int((value - self.low) / (self.high - self.low) * self.cells)))

    def interval(self, low: float, middle: float, high: float, glyphs: Glyphs) -> str:
        """A line from `low` to `high` with its middle, and the line at zero."""
        signs = [" "] * self.cells
        signs[self.cell(0.0)] = glyphs.rule_down
        for place in range(self.cell(low), self.cell(high) + 1):
            signs[place] = glyphs.rule
        signs[self.cell(middle)] = glyphs.markers[0]
        return "".join(signs)


def _axis(scale: _ForestScale, indent: int) -> Line:
    """The ends of the scale and zero above their cells."""
    signs = [" "] * scale.cells
    zero = scale.cell(0.0)
    low, high = f"{scale.low:+.1f}", f"{scale.high:+.1f}"
    if zero > len(low):
        signs[: len(low)] = low
    if scale.cells - zero > len(high) + 1:
        signs[-len(high) :] = high
    signs[zero] = "0"
    return line(Span(" " * indent + "".join(signs), Tone.FAINT))


def short_name(name: str) -> str:
    """The last part of a name."""
    return name.rpartition("/")[2]
