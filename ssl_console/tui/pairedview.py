"""What paired tests say about the compared backbones. Pure; the tests themselves are made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssl_console.p_values import told
from ssl_console.tui.text import Line, Span, Tone, length, line, wrap

if TYPE_CHECKING:
    from ssl_console.comparison import Comparison, TaskComparison

TONES = {"better": Tone.GOOD, "worse": Tone.BAD, "alike": Tone.DIM, "described": Tone.DIM}


@dataclass(frozen=True)
class Paired:
    """The comparisons of other backbones with the base that are known so far."""

    by_backbone: Mapping[str, Comparison]

    def task(self, backbone: str, column: str | None) -> TaskComparison | None:
        """The test in one column, by its comparability key."""
        found = self.by_backbone.get(backbone)
        return None if found is None else next((task for task in found.tasks if task.column == column), None)

    def tone(self, backbone: str, column: str | None) -> Tone | None:
        """What the test says, as a colour; None while it is not known."""
        task = self.task(backbone, column)
        return None if task is None else TONES[task.verdict]

    def about(self, backbone: str, column: str | None, width: int) -> list[Line]:
        """The numbers of the test under the cursor, and the sentence about the backbone over all tasks."""
        found = self.by_backbone.get(backbone)
        if found is None:
            return [line()]
        told = (line(f" {text}") for text in wrap(found.sentence, width - 2))
        return [*_numbers(self.task(backbone, column), width), *told]


def _numbers(task: TaskComparison | None, width: int) -> list[Line]:
    """The test in one line, or in two where it is too long for one, and what is to be said of it."""
    if task is None:
        return [line()]
    test = task.test
    chance = f"p {told(test.p_value)}, with Holm {told(task.adjusted_p)}, effect {test.effect:+.2f}"
    first = line(
        Span(f" {task.task}  ", Tone.DIM),
        f"{test.difference:+.2f} ({test.low:+.2f} to {test.high:+.2f})",
        Span(f"  {chance}", Tone.DIM),
    )
    more = line(Span(f"  smallest to be seen {test.smallest:.1f}  {test.method}", Tone.DIM))
    note = [line(Span(f" {text}", Tone.WARN)) for text in wrap(task.note, width - 2) if task.note]
    return [(*first, *more), *note] if length((*first, *more)) <= width else [first, more, *note]
