"""Which runs fit into some hours, and in which order they tell most about the ranking. Pure.

The model: a score's log-odds are a task's height plus a backbone's plus noise. What a run tells is how much it lowers
the expected number of backbone pairs that the ranking has in the wrong order; per second of work, the run that lowers
it most comes first. Nothing is known of a run's outcome, so the expectation is over what it may turn out to be.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import NormalDist, fmean

from ssl_console.planning import PlannedRun
from ssl_console.ranking import log_odds
from ssl_console.result import Result

SPREAD = 0.38
NOISE = 0.22
"""Standard deviations, in log-odds, of backbones' heights, and of single scores around the sum of both heights: those
of the paper's Table 1, linear (14 backbones on 11 tasks, two-way analysis of variance)."""
OUTCOMES = tuple(NormalDist().inv_cdf((number + 0.5) / 32) for number in range(32))
"""What a standard normal number may be, 32 equally likely values; none is zero, where the expectation has a kink."""


@dataclass(frozen=True)
class Cell:
    """A run that could be carried out."""

    backbone: str
    task: str
    seconds: float
    basis: str
    """How its duration is known: `measured`, `estimated` from like runs, or `profiled`."""
    run: PlannedRun | None = None


@dataclass(frozen=True)
class Choice:
    """A cell that fits, in the order of choosing."""

    cell: Cell
    doubt: float
    """Expected number of pairs in the wrong order once it is done."""
    ends_s: float
    """Seconds of work of all slots together until it is done."""


@dataclass(frozen=True)
class Budget:
    """What fits, what does not, and what it does to the ranking."""

    choices: tuple[Choice, ...]
    left_out: tuple[Cell, ...]
    doubt_before: float
    pairs: int

    @property
    def doubt_after(self) -> float:
        """Expected number of wrong pairs when all is done."""
        return self.choices[-1].doubt if self.choices else self.doubt_before


@dataclass
class Belief:
    """What is believed of each backbone's height, and what of it planned runs will have told."""

    means: dict[str, float]
    """As believed now; which way a planned run will move them nobody knows."""
    now: dict[str, float]
    """Variances as of now."""
    then: dict[str, float] = field(init=False)
    """Variances once the planned runs are done."""
    measured: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How many backbones are, or will be, measured on each task."""

    def __post_init__(self) -> None:
        self.then = dict(self.now)

    def doubt(self) -> float:
        """Expected number of pairs in the wrong order once the planned runs are done."""
        return sum(self._wrong(a, b, self.then[a]) for a, b in combinations(self.means, 2))

    def gain(self, cell: Cell) -> float:
        """By how much measuring the cell too is expected to lower the doubt."""
        one, after = cell.backbone, self._variance_after(cell)
        others = (name for name in self.means if name != one)
        return sum(self._wrong(one, other, self.then[one]) - self._wrong(one, other, after) for other in others)

    def worth(self) -> Callable[[Cell], float]:
        """Gain per second; cells of one backbone on tasks that are known equally well gain the same."""
        known: dict[tuple[str, int], float] = {}

        def per_second(cell: Cell) -> float:
            place = cell.backbone, self.measured[cell.task]
            if place not in known:
                known[place] = self.gain(cell)
            return known[place] / max(cell.seconds, 1e-3)

        return per_second

    def measure(self, cell: Cell) -> None:
        """Plan the cell."""
        self.then[cell.backbone] = self._variance_after(cell)
        self.measured[cell.task] += 1

    def _variance_after(self, cell: Cell) -> float:
        """A task that few others were measured on tells less: its own height is not known well."""
        noise = NOISE**2 * (1 + 1 / (self.measured[cell.task] + 0.5))
        return 1 / (1 / self.then[cell.backbone] + 1 / noise)

    def _wrong(self, first: str, second: str, variance: float) -> float:
        """Chance that the pair is in the wrong order when the first has that variance, over all possible outcomes.

        What variances lose, the difference of the means may move by.
        """
        lost = self.now[first] - variance + self.now[second] - self.then[second]
        gap, moved = self.means[first] - self.means[second], math.sqrt(max(0.0, lost))
        spread = math.sqrt(variance + self.then[second])
        if moved == 0:
            return _tail(abs(gap), spread)
        return fmean(_tail(abs(gap + outcome * moved), spread) for outcome in OUTCOMES)


def belief_of(backbones: Iterable[str], results: Iterable[Result]) -> Belief:
    """From what was measured: residuals from each task's mean, drawn towards zero as far as they are noisy."""
    names = list(dict.fromkeys(backbones))
    scores = _scores(names, results)
    heights = {task: sum(row.values()) / len(row) for task, row in scores.items()}
    precision = dict.fromkeys(names, 1 / SPREAD**2)
    weighted = dict.fromkeys(names, 0.0)
    for task, row in scores.items():
        noise = NOISE**2 * (1 + 1 / (len(row) - 0.5))
        for name, score in row.items():
            precision[name] += 1 / noise
            weighted[name] += (score - heights[task]) / noise
    belief = Belief(
        {name: weighted[name] / precision[name] for name in names}, {name: 1 / precision[name] for name in names}
    )
    belief.measured.update({task: len(row) for task, row in scores.items()})
    return belief


def plan_budget(cells: Sequence[Cell], belief: Belief, seconds: float) -> Budget:
    """Choose cells until the time is used up: always the one that lowers the doubt most per second.

    `seconds` are of all slots together.
    """
    left, used = list(cells), 0.0
    before = belief.doubt()
    choices: list[Choice] = []
    while fitting := [cell for cell in left if used + cell.seconds <= seconds]:
        best = max(fitting, key=belief.worth())
        belief.measure(best)
        used += best.seconds
        left.remove(best)
        choices.append(Choice(best, belief.doubt(), used))
    count = len(belief.means)
    return Budget(tuple(choices), tuple(left), before, count * (count - 1) // 2)


def _scores(names: Sequence[str], results: Iterable[Result]) -> Mapping[str, dict[str, float]]:
    """Log-odds by task and backbone, of scores that are percentages; the newest of each counts."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.backbone in names and result.higher_is_better and 0 <= result.value <= 100:
            found[result.task][result.backbone] = log_odds(result.value, result.n)
    return found


def _tail(distance: float, spread: float) -> float:
    """Probability that a normal number falls `distance` below its mean."""
    return 0.5 * math.erfc(distance / (spread * math.sqrt(2)))
