"""Selection of runs that fit a time budget, ordered by how much they improve the ranking.

Model: a score's log-odds are the sum of a task effect, a backbone effect and noise. The value of a run is the amount by
which it lowers the expected number of backbone pairs in the wrong order; the run with the largest reduction per second
comes first. The outcome of a run is unknown, so the expectation is taken over its distribution.

The duration of a run without comparable results is estimated from the backbone's speed, measured on this device.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean

from backbones.catalog.card import BackboneCard
from backbones.io.file_digests import canonical
from backbones.io.files import write_if_possible
from ssl_console.analysis.ranking_cell import log_odds
from ssl_console.planning.duration import History
from ssl_console.planning.plan import PlannedRun
from ssl_console.system import command_hints
from ssl_console.workspace.result import Result
from tasks.backbone_checks.finding import CheckRequest
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import DatasetCard

SPREAD = 0.38
NOISE = 0.22
"""Standard deviations, in log-odds, of backbone effects, and of single scores around the sum of both effects:
those of the paper's Table 1, linear (14 backbones on 11 tasks, two-way analysis of variance).
"""
SHORTEST_S = 1e-3
OUTCOMES = tuple(NormalDist().inv_cdf((number + 0.5) / 32) for number in range(32))
"""32 equally likely values of a standard normal variable; none is zero, where the expectation has a kink."""
SPEED = "tasks.backbone_checks.speed"
PROTOCOL_S = 10.0
"""Default seconds of a protocol on stored features, where none was measured yet."""
SECONDS = 600.0


@dataclass(frozen=True)
class BudgetCell:
    """A run that could be executed."""

    backbone: str
    task: str
    seconds: float
    basis: str
    """Source of the duration: `measured`, `estimated` from similar runs, or `profiled`."""
    run: PlannedRun | None = None
    dataset: str = ""
    encoding_s: float = 0.0
    """Part of the seconds for encoding the dataset's images, which only a backbone's first run on it needs."""


@dataclass(frozen=True)
class BudgetChoice:
    """A selected cell, in the order of selection."""

    cell: BudgetCell
    seconds: float
    """Duration after the cells that were selected before."""
    doubt: float
    """Expected number of pairs in the wrong order afterwards."""
    ends_s: float
    """Seconds from now until it is done."""


@dataclass(frozen=True)
class Budget:
    """Selected and remaining runs, and their effect on the ranking."""

    choices: tuple[BudgetChoice, ...]
    left_out: tuple[BudgetCell, ...]
    doubt_before: float
    """Expected number of wrong pairs with the finished and active runs."""
    pairs: int

    @property
    def doubt_after(self) -> float:
        """Expected number of wrong pairs when all selected runs are done."""
        return self.choices[-1].doubt if self.choices else self.doubt_before

    @property
    def ends_s(self) -> float:
        """Seconds from now until all selected runs are done."""
        return max((choice.ends_s for choice in self.choices), default=0.0)


@dataclass
class Slots:
    """Times at which the slots become free, and the images that are encoded by then."""

    ends: list[float]
    encoded: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, count: int) -> Slots:
        """All slots free now."""
        return cls([0.0] * max(1, count))

    def need(self, cell: BudgetCell) -> float:
        """Duration of the cell in seconds after the cells assigned so far."""
        known = (cell.backbone, cell.dataset) in self.encoded
        return cell.seconds - cell.encoding_s if known else cell.seconds

    def ending(self, cell: BudgetCell) -> float:
        """End of the cell in seconds."""
        return self.ends[0] + self.need(cell)

    def give(self, cell: BudgetCell) -> float:
        """Assign the cell to the slot that becomes free first; return its end."""
        done = self.ending(cell)
        heapq.heapreplace(self.ends, done)
        if cell.encoding_s:
            self.encoded.add((cell.backbone, cell.dataset))
        return done


@dataclass
class Belief:
    """Belief about each backbone's effect, now and after the planned runs."""

    means: dict[str, float]
    """Current means; the direction in which a planned run will move them is unknown."""
    now: dict[str, float]
    """Present variances."""
    then: dict[str, float] = field(init=False)
    """Variances once the planned runs are done."""
    measured: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Number of backbones that are, or will be, measured on each task."""
    _chances: dict[tuple[str, str, float, float], float] = field(default_factory=dict)
    """Cached probabilities: one more planned run changes few of them."""

    def __post_init__(self) -> None:
        self.then = dict(self.now)

    def doubt(self) -> float:
        """Expected number of pairs in the wrong order once the planned runs are done."""
        return sum(self._wrong(a, b, self.then[a]) for a, b in combinations(self.means, 2))

    def gain(self, cell: BudgetCell) -> float:
        """Expected reduction of the doubt by measuring the cell as well."""
        one, after = cell.backbone, self._variance_after(cell)
        others = (name for name in self.means if name != one)
        return sum(self._wrong(one, other, self.then[one]) - self._wrong(one, other, after) for other in others)

    def gains(self) -> Callable[[BudgetCell], float]:
        """`gain`, computed once for all cells of one backbone on tasks measured on equally many backbones."""
        known: dict[tuple[str, int], float] = {}

        def gain(cell: BudgetCell) -> float:
            place = cell.backbone, self.measured[cell.task]
            if place not in known:
                known[place] = self.gain(cell)
            return known[place]

        return gain

    def measure(self, cell: BudgetCell) -> None:
        """Plan the cell."""
        self.then[cell.backbone] = self._variance_after(cell)
        self.measured[cell.task] += 1

    def _variance_after(self, cell: BudgetCell) -> float:
        """Variance after measuring the cell. A task measured on few backbones adds more noise: its own effect is
        uncertain.
        """
        noise = NOISE**2 * (1 + 1 / (self.measured[cell.task] + 0.5))
        return 1 / (1 / self.then[cell.backbone] + 1 / noise)

    def _wrong(self, first: str, second: str, variance: float) -> float:
        """Probability that the pair is in the wrong order when the first has that variance, over all possible
        outcomes.
        """
        place = first, second, variance, self.then[second]
        if place not in self._chances:
            lost = self.now[first] - variance + self.now[second] - self.then[second]
            gap, moved = self.means[first] - self.means[second], math.sqrt(max(0.0, lost))
            scale = math.sqrt(variance + self.then[second]) * math.sqrt(2)
            # the runs that reduce the variance may move the difference of the means by a normally distributed amount
            gaps = (gap + outcome * moved for outcome in OUTCOMES) if moved else (gap,)
            self._chances[place] = fmean(0.5 * math.erfc(abs(one) / scale) for one in gaps)
        return self._chances[place]


def belief_of(backbones: Iterable[str], results: Iterable[Result]) -> Belief:
    """Belief from results: residuals from each task's mean, shrunk towards zero according to their noise."""
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


def plan_budget(
    cells: Sequence[BudgetCell], belief: Belief, seconds: float, slots: int = 1, under_way: Iterable[BudgetCell] = ()
) -> Budget:
    """Select cells until none ends within `seconds`: always the one with the largest reduction of doubt per
    second.

    Active runs are executed first. As many run concurrently as there are slots.
    """
    left, free = list(cells), Slots.of(slots)
    for cell in under_way:
        free.give(cell)
        belief.measure(cell)
    before, choices = belief.doubt(), list[BudgetChoice]()
    while fitting := [cell for cell in left if free.ending(cell) <= seconds]:
        gain = belief.gains()
        best = max(fitting, key=lambda cell: gain(cell) / max(free.need(cell), SHORTEST_S))
        need, done = free.need(best), free.give(best)
        belief.measure(best)
        left.remove(best)
        choices.append(BudgetChoice(best, need, belief.doubt(), done))
    count = len(belief.means)
    return Budget(tuple(choices), tuple(left), before, count * (count - 1) // 2)


def _scores(names: Sequence[str], results: Iterable[Result]) -> Mapping[str, dict[str, float]]:
    """Log-odds by task and backbone, of percentage scores; the newest of each counts."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for result in sorted(results, key=lambda one: one.finished):
        if result.backbone in names and result.higher_is_better and 0 <= result.value <= 100:
            found[result.task][result.backbone] = log_odds(result.value, result.n)
    return found


class UnknownDuration(Exception):  # noqa: N818 - an answer, not a fault
    """The duration of a run cannot be estimated; the message gives the reason."""


@dataclass(frozen=True)
class UncertainRun:
    """A run of unknown duration."""

    backbone: str
    task: str
    why: str


@dataclass
class Profiler:
    """Speeds by backbone; measured once per weights, card and device, and stored."""

    folder: Path
    weights: Path
    device: str
    images: Callable[[DatasetCard], int | None]
    """Number of images of a dataset; None when it has not been read yet."""
    notify: Callable[[str], None]
    _speeds: dict[str, float | None] = field(default_factory=dict)

    def cell(self, run: PlannedRun, history: History) -> BudgetCell:
        """The run with its expected duration. Raises UnknownDuration.

        The best source are runs of this task; next, encoding at the backbone's own speed is more precise than durations
        of the protocol on other datasets.
        """
        work = run.candidate.work
        known = history.of_task(work)
        if known is not None:
            same = (work.backbone, work.task, work.variant) in history.exact
            return BudgetCell(work.backbone, work.task, known, "measured" if same else "estimated", run)
        if PROTOCOLS[work.protocol].reads_features:
            return self._profiled(run)
        usual = history.seconds(work)
        if usual is None:
            raise UnknownDuration(
                f"no {work.protocol} [{work.variant}] was measured yet: run one to learn its duration"
            )
        return BudgetCell(work.backbone, work.task, usual, "estimated", run)

    def _profiled(self, run: PlannedRun) -> BudgetCell:
        """Duration of encoding all images at the measured speed, and of the protocol on stored features."""
        candidate = run.candidate
        count = self.images(candidate.dataset)
        if count is None:
            raise UnknownDuration(f"the number of images of {candidate.dataset.name} is not known yet")
        speed = self.speed(candidate.backbone)
        if not speed:
            name = candidate.backbone.name
            raise UnknownDuration(
                f"{name} cannot be timed: `{command_hints.examine(name)}` shows what is wrong with it"
            )
        encoding = count / speed
        work, dataset = candidate.work, candidate.dataset.name
        return BudgetCell(work.backbone, work.task, encoding + PROTOCOL_S, "profiled", run, dataset, encoding)

    def speed(self, card: BackboneCard) -> float | None:
        """Images per second; None when the backbone cannot be loaded."""
        if card.name not in self._speeds:
            self._speeds[card.name] = self._kept(card) or self._measure(card)
        return self._speeds[card.name]

    def _kept(self, card: BackboneCard) -> float | None:
        try:
            return float(json.loads(self._place(card).read_bytes())["images_per_s"])
        except (OSError, ValueError, KeyError):
            return None

    def _measure(self, card: BackboneCard) -> float | None:
        self.notify(f"measuring the speed of {card.name} ...")
        request = CheckRequest(backbone=card, weights=str(self.weights), device=self.device)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", SPEED],
                input=request.model_dump_json(),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
                check=True,
            )
            found = float(json.loads(done.stdout)["images_per_s"])
        except (subprocess.SubprocessError, ValueError, KeyError):
            return None
        write_if_possible(self._place(card), json.dumps({"images_per_s": found}).encode())
        return found

    def _place(self, card: BackboneCard) -> Path:
        """File of a speed, named by what determines it: architecture, input, device."""
        parts = [card.architecture, dict(card.architecture_arguments), card.input.size, card.pooling, self.device]
        return self.folder / f"{hashlib.sha256(canonical(parts)).hexdigest()[:16]}.json"


def cells_of(
    runs: Iterable[PlannedRun], history: History, profiler: Profiler
) -> tuple[list[BudgetCell], list[UncertainRun]]:
    """Runs with a known duration, and the others."""
    cells, unclear = list[BudgetCell](), list[UncertainRun]()
    for run in runs:
        try:
            cells.append(profiler.cell(run, history))
        except UnknownDuration as reason:
            unclear.append(UncertainRun(run.candidate.backbone.name, run.candidate.task.name, str(reason)))
    return cells, unclear
