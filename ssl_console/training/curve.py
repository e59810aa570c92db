"""How well the checkpoints of a training transfer, beside other backbones, and whether they still get better. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssl_console.result import Result
from ssl_console.training.record import Training

PATIENCE = 3
"""Checkpoints after the best one that must be worse before it is called the peak."""
CONFIDENCE = 1.645
"""Standard errors by which they must be worse: 95 %, one-sided."""
INTERVAL = 2 * 1.96
REFERENCES = 6


@dataclass(frozen=True)
class Point:
    """A checkpoint that was measured on all tasks."""

    step: int
    backbone: str
    mean: float
    error: float
    """Standard error of the mean, from the test samples of every task."""
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """All points by step, and the means of other backbones on the same tasks."""

    points: tuple[Point, ...]
    references: Mapping[str, float]
    unit: str = "step"

    @property
    def best(self) -> Point | None:
        """The highest point; of equals the earliest."""
        return max(self.points, key=lambda point: (point.mean, -point.step), default=None)

    @property
    def verdict(self) -> str:
        """Whether it has peaked, in one sentence."""
        best = self.best
        if best is None:
            return "no checkpoint has been measured on all tasks yet"
        after = [point for point in self.points if point.step > best.step]
        if len(after) < PATIENCE:
            return f"best so far at {self.unit} {best.step:,} ({best.mean:.1f})"
        last = after[-PATIENCE:]
        loss = best.mean - sum(point.mean for point in last) / len(last)
        if loss > CONFIDENCE * _error_of_loss(best, last):
            return (
                f"peaked at {self.unit} {best.step:,} ({best.mean:.1f}): the last {len(last)} checkpoints are "
                f"{loss:.1f} points below it"
            )
        return f"level since {self.unit} {best.step:,} ({best.mean:.1f}): later ones differ by less than the noise"

    @property
    def peaked(self) -> bool:
        """Whether later checkpoints are clearly worse."""
        return self.verdict.startswith("peaked")


def curve_of(training: Training, results: Iterable[Result]) -> Curve:
    """The curve of a training from all results of the workspace.

    References are backbones with results for the same tasks in the same columns; of many, some from best to worst.
    """
    by_backbone: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.task in training.tasks and result.source == "mine" and result.seed == 0:
            by_backbone[result.backbone][result.task] = result
    complete = {name: rows for name, rows in by_backbone.items() if len(rows) == len(training.tasks)}
    own = {one.backbone: one for one in training.checkpoints if one.backbone}
    points = [_point(own[name].step, name, rows) for name, rows in complete.items() if name in own]
    others = {name: _mean(rows.values()) for name, rows in complete.items() if not name.startswith("training/")}
    units = [one.unit for one in training.checkpoints]
    return Curve(
        tuple(sorted(points, key=lambda point: point.step)),
        _some(others),
        max(set(units), key=units.count, default="step"),
    )


def _point(step: int, name: str, rows: Mapping[str, Result]) -> Point:
    errors = [(result.ci_high - result.ci_low) / INTERVAL for result in rows.values()]
    scores = {task: result.value for task, result in rows.items()}
    return Point(step, name, _mean(rows.values()), math.sqrt(sum(e * e for e in errors)) / len(errors), scores)


def _mean(rows: Iterable[Result]) -> float:
    values = [result.value for result in rows]
    return sum(values) / len(values)


def _error_of_loss(best: Point, last: Sequence[Point]) -> float:
    """As if the checkpoints' errors were independent; they share test images, so the truth is smaller."""
    return math.hypot(best.error, math.sqrt(sum(point.error**2 for point in last)) / len(last))


def _some(means: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(means.items(), key=lambda item: -item[1])
    if len(ordered) <= REFERENCES:
        return dict(ordered)
    places = {round(place * (len(ordered) - 1) / (REFERENCES - 1)) for place in range(REFERENCES)}
    return dict(ordered[place] for place in sorted(places))
