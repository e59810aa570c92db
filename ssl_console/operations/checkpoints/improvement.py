"""Improvement of a training: each checkpoint is judged against the best one before it. Pure. The k-th comparison has
1 / (k (k + 1)) of the error, so that over any number of comparisons a checkpoint is falsely reported as better in
at most 5 % of trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssl_console.analysis.judgement import PATIENCE, Judgement
from ssl_console.analysis.statistics.sequential import ERROR
from ssl_console.operations.checkpoints.record import TransferPoint

Against = Callable[[TransferPoint, TransferPoint, float], Judgement | None]
"""Judgement of a later checkpoint against an earlier one, with this probability of error."""


@dataclass(frozen=True)
class Improvement:
    """The last checkpoint that was certainly better than the best one before it, and its successors."""

    best: TransferPoint
    later: int
    """Number of checkpoints since then."""
    no_better: int
    """Number of the latest of them, in a row, that are certainly no better by the margin."""
    margin: float
    unit: str = "step"

    @property
    def stopped(self) -> bool:
        """Whether the training no longer improves."""
        return self.no_better >= PATIENCE

    @property
    def sentence(self) -> str:
        at = f"{self.unit} {self.best.step:,}"
        if self.stopped:
            return f"stopped improving at {at}: the last {self.no_better} are no better by {self.margin:g} points"
        if not self.later:
            return f"still improving: {at} is better than all before"
        return f"no checkpoint is certainly better than {at} yet, and {self.no_better} of {self.later} are no better"


def error_of_comparison(number: int) -> float:
    """Part of the error of the `number`-th comparison, from 1; all parts together are the whole."""
    return ERROR / (number * (number + 1))


def follow_training(points: Sequence[TransferPoint], against: Against, unit: str = "step") -> Improvement | None:
    """Judge every point against the best one so far, in the order of steps; None where nothing can be judged."""
    if len(points) < 2:
        return None
    best, later, no_better, margin, judged = points[0], 0, 0, 0.0, False
    for number, point in enumerate(points[1:], start=1):
        found = against(point, best, error_of_comparison(number))
        if found is None:
            continue
        judged, margin = True, found.margin
        if found.answer == "better":
            best, later, no_better = point, 0, 0
            continue
        later += 1
        no_better = no_better + 1 if found.answer in {"not better", "practically equal"} else 0
    return Improvement(best, later, no_better, margin, unit) if judged else None
