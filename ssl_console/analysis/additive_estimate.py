"""Order of backbones by an estimate over the measured cells. Pure; needs no numpy.

A score is modelled as the sum of a backbone effect and a task effect. Percentages enter as log-odds, other scores
standardised within their task and scaled to the typical variation of log-odds within a task. A backbone therefore gains
nothing from a missing hard task; missing cells widen its interval.

A backbone that is ahead of another on every common task is ordered above it, regardless of the estimates; where these
relations form a cycle, no order satisfies all of them, and the rows are marked.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev

from tasks.metrics.outcome import student_95

Scores = Mapping[str, Mapping[str, float]]
"""By task and backbone, on one scale, higher is better."""
Edges = Mapping[str, frozenset[str]]
"""Backbones over which a backbone leads on every common task."""


@dataclass(frozen=True)
class Estimate:
    """Effect of a backbone in log-odds, relative to the mean of the backbones connected with it."""

    value: float
    half_width: float | None
    """Half of the 95 % interval; None without residual degrees of freedom."""


def on_one_scale(percentages: Scores, others: Scores) -> Scores:
    """Log-odds unchanged, and `others` scaled to the standard deviation of log-odds within a typical task."""
    if not others:
        return percentages
    typical = [spread for task in percentages.values() if (spread := pstdev(task.values())) > 0]
    unit = median(typical) if typical else 1.0
    return {**percentages, **{name: _standardised(task, unit) for name, task in others.items()}}


def _standardised(task: Mapping[str, float], unit: float) -> dict[str, float]:
    mean, spread = fmean(task.values()), pstdev(task.values())
    return {name: unit * (value - mean) / spread if spread > 0 else 0.0 for name, value in task.items()}


def estimates(scores: Scores) -> dict[str, Estimate]:
    """Least-squares estimates by backbone. Backbones without a chain of common tasks are estimated separately."""
    found: dict[str, Estimate] = {}
    groups: list[set[str]] = []  # backbones connected by chains of common tasks
    for cells in scores.values():
        joined = set(cells).union(*(group for group in groups if group & set(cells)))
        groups = [group for group in groups if not group & set(cells)] + ([joined] if joined else [])
    if len(groups) == 1:
        return _fitted(sorted(groups[0]), {task: cells for task, cells in scores.items() if cells})
    for names in groups:
        own = {task: {n: v for n, v in cells.items() if n in names} for task, cells in scores.items()}
        found |= _fitted(sorted(names), {task: cells for task, cells in own.items() if cells})
    return found


def _fitted(names: Sequence[str], scores: Scores) -> dict[str, Estimate]:
    """Eliminate the effects of the larger side, which leaves one equation per backbone or per task."""
    count = len(names)
    right = dict.fromkeys(names, 0.0)
    for cells in scores.values():
        mean = fmean(cells.values())
        for name, value in cells.items():
            right[name] += value - mean
    effects, variances = (_by_backbone if count <= len(scores) else _by_task)(names, scores, right)
    by_name = dict(zip(names, effects, strict=True))
    error, free = _residual(by_name, scores)
    reach = None if error is None else student_95(free) * error
    return {
        name: Estimate(by_name[name], None if reach is None else reach * math.sqrt(max(0.0, variance)))
        for name, variance in zip(names, variances, strict=True)
    }


Solved = tuple[list[float], list[float]]
"""Effects of the backbones, of mean 0, and their variances in units of the error's variance."""


def _by_backbone(names: Sequence[str], scores: Scores, right: Mapping[str, float]) -> Solved:
    """Normal equations of the backbones, whose mean effect is 0."""
    place = {name: number for number, name in enumerate(names)}
    matrix = [[1.0 / len(names)] * len(names) for _ in names]
    for cells in scores.values():
        for name in cells:
            row = matrix[place[name]]
            row[place[name]] += 1.0
            for other in cells:
                row[place[other]] -= 1 / len(cells)
    inverse = _inverse(matrix)
    effects = [math.fsum(one * right[name] for one, name in zip(row, names, strict=True)) for row in inverse]
    return effects, [row[number] - 1 / len(names) for number, row in enumerate(inverse)]


def _by_task(names: Sequence[str], scores: Scores, right: Mapping[str, float]) -> Solved:
    """Solution from the equations of the tasks, if these are fewer.

    With D the number of tasks of each backbone, N the cells and S the equations of the tasks, G = 1/D + 1/D N S^- N'
    1/D is a generalised inverse of the backbones' equations, and P G P their inverse for effects of mean 0 (P subtracts
    the mean). Backbones with the same tasks have equal rows of N S^- N'.
    """
    tasks = list(scores)
    of = {name: tuple(number for number, task in enumerate(tasks) if name in scores[task]) for name in names}
    matrix = [[1.0 / len(tasks)] * len(tasks) for _ in tasks]
    alike = Counter(of.values())
    for own, count in alike.items():
        for one in own:
            matrix[one][one] += count
            for other in own:
                matrix[one][other] -= count / len(own)
    inverse = _inverse(matrix)
    quadratic = {own: math.fsum(inverse[a][b] for a in own for b in own) / len(own) ** 2 for own in alike}

    def applied(values: Mapping[str, float]) -> list[float]:
        own = {name: values[name] / len(of[name]) for name in names}
        sums = [math.fsum(own[name] for name in scores[task]) for task in tasks]
        through = [math.fsum(map(operator.mul, row, sums)) for row in inverse]
        return [own[name] + math.fsum(through[number] for number in of[name]) / len(of[name]) for name in names]

    count = len(names)
    ones, raw = applied(dict.fromkeys(names, 1.0)), applied(right)
    shift, level = math.fsum(raw) / count, math.fsum(ones) / count**2
    diagonal = [
        1 / len(of[name]) + quadratic[of[name]] - 2 * one / count + level for name, one in zip(names, ones, strict=True)
    ]
    return [value - shift for value in raw], diagonal


def _residual(effects: Mapping[str, float], scores: Scores) -> tuple[float | None, int]:
    """Standard deviation of the residuals and its degrees of freedom; None without degrees of freedom."""
    total, cells = 0.0, 0
    for task in scores.values():
        rest = [value - effects[name] for name, value in task.items()]
        mean = fmean(rest)
        total += math.fsum((one - mean) ** 2 for one in rest)
        cells += len(rest)
    free = cells - len(effects) - len(scores) + 1
    return (math.sqrt(total / free), free) if free > 0 else (None, free)


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Inverse of a positive definite matrix by Gauss-Jordan elimination, which requires no pivoting."""
    count = len(matrix)
    rows = [[*row, *(float(number == column) for column in range(count))] for number, row in enumerate(matrix)]
    for number in range(count):
        pivot = rows[number][number]
        own = rows[number] = [value / pivot for value in rows[number]]
        for other in range(count):
            factor = rows[other][number]
            if other != number and factor:
                rows[other] = [value - factor * lead for value, lead in zip(rows[other], own, strict=True)]
    return [row[count:] for row in rows]


def sweeps(scores: Scores) -> Edges:
    """Backbones that each backbone leads on every common task, ignoring ties.

    A set of backbones is an integer with one bit for each of them, so a task costs one operation per backbone.
    """
    names = list(dict.fromkeys(name for cells in scores.values() for name in cells))
    bit = {name: 1 << number for number, name in enumerate(names)}
    ahead, behind = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for cells in scores.values():
        for falling, beaten in ((False, ahead), (True, behind)):
            _collect(cells, sorted(cells, key=cells.__getitem__, reverse=falling), bit, beaten)
    return {name: _members(ahead[name] & ~behind[name], names) for name in names}


def _collect(cells: Mapping[str, float], order: Sequence[str], bit: Mapping[str, int], sets: dict[str, int]) -> None:
    """Add to each backbone's set those that precede it in the order with a different value."""
    passed = equal = 0
    value: float | None = None
    for name in order:
        if cells[name] != value:
            passed, equal, value = passed | equal, 0, cells[name]
        sets[name] |= passed
        equal |= bit[name]


def _members(bits: int, names: Sequence[str]) -> frozenset[str]:
    found = []
    while bits:
        found.append(names[(bits & -bits).bit_length() - 1])
        bits &= bits - 1
    return frozenset(found)


def circles(edges: Edges) -> frozenset[str]:
    """Backbones that are ahead of themselves through others."""
    reached = _reached(edges)
    return frozenset(name for name in edges if name in reached[name])


def _reached(edges: Edges) -> dict[str, set[str]]:
    """All backbones that a backbone is ahead of, directly or through others."""
    found: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges[name]
        found[start] = seen
    return found


def ordered(values: Mapping[str, float], weights: Mapping[str, int], edges: Edges) -> list[str]:
    """Order by estimate, best first, such that no backbone is above one that leads it on every common task, except in
    cycles. Of a pair in the wrong order, the backbone with fewer cells, by `weights`, is moved to the other.
    """
    reached = _reached(edges)
    strict = {name: {low for low in edges[name] if name not in reached[low]} for name in edges}
    moved = _moved(dict(values), weights, strict)
    above = {name: {high for high in strict if name in strict[high]} for name in strict}
    waiting = sorted(values, key=lambda name: (-moved[name], -values[name], name))
    order: list[str] = []
    while waiting:
        free = next(name for name in waiting if not above.get(name, set()).intersection(waiting))
        order.append(free)
        waiting.remove(free)
    return order


def _moved(values: dict[str, float], weights: Mapping[str, int], strict: Mapping[str, set[str]]) -> dict[str, float]:
    """Estimates after one round of moves per backbone, or when no more are needed."""
    for _ in values:
        wrong = [(high, low) for high in strict for low in strict[high] if values[high] < values[low]]
        if not wrong:
            break
        for high, low in wrong:
            if weights[high] < weights[low]:
                values[high] = max(values[high], values[low])
            else:
                values[low] = min(values[low], values[high])
    return values
