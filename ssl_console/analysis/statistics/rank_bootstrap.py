"""Ranks with intervals, for other test samples and other tasks of the same kinds.

A hierarchical bootstrap: every replicate resamples tasks within each family, then each task's samples (see
`weighted_metrics.Spread`), and ranks all backbones by the mean of their ranks over the tasks, as the table does. All
backbones share the samples of a replicate, so common variation does not affect their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.statistics.weighted_metrics import Spread


def places(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rank of every score along the last axis: 1 for the highest, ties have their average rank."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    width = scores.shape[-1]
    number = np.arange(width)
    starts = np.ones(scores.shape, dtype=np.bool_)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    found = np.empty(scores.shape)
    if starts.all():
        np.put_along_axis(found, order, np.broadcast_to(number + 1.0, scores.shape), axis=-1)
        return found
    first = np.maximum.accumulate(np.where(starts, number, 0), axis=-1)
    ends = np.concatenate([starts[..., 1:], np.ones((*scores.shape[:-1], 1), dtype=np.bool_)], axis=-1)
    last = np.minimum.accumulate(np.where(ends, number, width)[..., ::-1], axis=-1)[..., ::-1]
    np.put_along_axis(found, order, (first + last) / 2 + 1, axis=-1)
    return found


Floats = npt.NDArray[np.float64]

REPLICATES = 1000
BLOCK = 125
"""Number of replicates in memory at once."""
CERTAIN = 0.975
"""Fraction of replicates in which the first of a group must be ahead of a backbone for that to start a new group."""

Missing = Literal["complete rows", "common tasks", "drawn"]
"""Treatment of missing cells. `complete rows`: only backbones measured on every task are ranked. `common tasks`: only
tasks on which every backbone was measured. `drawn`: a missing score is drawn from those of the other backbones on
the task, which widens the interval of ranks.
"""


@dataclass(frozen=True)
class RankInterval:
    """One backbone's rank; 1 is best."""

    backbone: str
    mean_rank: float
    """Mean of its ranks over the tasks, as measured."""
    rank: float
    """Its rank by that mean."""
    low: float
    high: float
    """Bounds of the rank in 95 % of the replicates."""
    first: float
    """Fraction of replicates in which it is first; a tie for the first rank is divided."""
    group: int
    """Number of its group, from 1: backbones of one group have no significant difference from the best of the group."""


@dataclass(frozen=True)
class Ranks:
    """The outcome, best first."""

    rows: tuple[RankInterval, ...]
    left_out: tuple[str, ...]
    """Backbones omitted because of missing scores."""
    tasks: int
    """Number of tasks used."""
    missing: Missing
    replicates: int


@dataclass
class RankBootstrap:
    """Replicates, drawn in batches so that a screen can show ranks while they are refined."""

    backbones: tuple[str, ...]
    values: Floats
    """[tasks, backbones]; higher is better."""
    factors: Sequence[npt.NDArray[np.floating]]
    families: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: Missing
    generator: np.random.Generator
    _drawn: list[Floats] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        backbones: Sequence[str],
        tasks: Sequence[Spread],
        families: Sequence[str],
        missing: Missing = "complete rows",
        seed: int = 0,
    ) -> RankBootstrap:
        """Prepare the bootstrap. `families` [tasks] are the groups of exchangeable tasks. Raises ValueError if no
        task or no backbone remains.
        """
        values = np.stack([task.values for task in tasks]) if tasks else np.empty((0, len(backbones)))
        known = ~np.isnan(values)
        rows = np.asarray(known.all(axis=0) if missing == "complete rows" else known.any(axis=0))
        kept = np.asarray(known[:, rows].all(axis=1) if missing == "common tasks" else known[:, rows].any(axis=1))
        if not kept.any() or not rows.any():
            raise ValueError(f"nothing can be ranked with {missing}: no backbone and task are left")
        return cls(
            backbones=tuple(name for name, stays in zip(backbones, rows, strict=True) if stays),
            values=values[kept][:, rows],
            factors=[task.factor[rows] for task, stays in zip(tasks, kept, strict=True) if stays],
            families=tuple(family for family, stays in zip(families, kept, strict=True) if stays),
            left_out=tuple(name for name, stays in zip(backbones, rows, strict=True) if not stays),
            missing=missing,
            generator=np.random.default_rng(seed),
        )

    def add(self, replicates: int = REPLICATES) -> None:
        """Draw more replicates."""
        for start in range(0, replicates, BLOCK):
            chosen = self._tasks(min(BLOCK, replicates - start))
            self._drawn.append(places(self._scores(chosen)).mean(axis=1))

    def ranks(self) -> Ranks:
        """Ranks from all replicates so far. Raises ValueError before the first."""
        if not self._drawn:
            raise ValueError("there are no replicates yet: call add first")
        mean_ranks = np.concatenate(self._drawn)
        drawn = places(-mean_ranks)
        measured = self._measured()
        low, high = np.quantile(drawn, [1 - CERTAIN, CERTAIN], axis=0, method="nearest")
        best = mean_ranks == mean_ranks.min(axis=1, keepdims=True)
        first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        order = np.lexsort((np.array(self.backbones), measured))
        groups = _groups(mean_ranks, order)
        numbers = np.stack([measured, places(-measured), low, high, first], axis=1).tolist()
        rows = []
        for place in order:
            mean, rank, lowest, highest, share = numbers[place]
            rows.append(RankInterval(self.backbones[place], mean, rank, lowest, highest, share, groups[int(place)]))
        return Ranks(tuple(rows), self.left_out, len(self.values), self.missing, len(mean_ranks))

    def _tasks(self, replicates: int) -> npt.NDArray[np.intp]:
        """Tasks of every replicate, [replicates, tasks]: as many of each family as there are."""
        chosen = np.empty((replicates, len(self.families)), dtype=np.intp)
        for family in dict.fromkeys(self.families):
            own = np.array([place for place, name in enumerate(self.families) if name == family])
            chosen[:, own] = own[self.generator.integers(0, len(own), size=(replicates, len(own)))]
        return chosen

    def _scores(self, chosen: npt.NDArray[np.intp]) -> Floats:
        """Scores on resampled samples, [replicates, tasks, backbones]; a task drawn twice is resampled twice."""
        scores = np.empty((*chosen.shape, len(self.backbones)))
        for task, (values, factor) in enumerate(zip(self.values, self.factors, strict=True)):
            where = chosen == task
            normal = self.generator.standard_normal((int(where.sum()), factor.shape[1]))
            scores[where] = self._filled(values, len(normal)) + normal @ factor.T
        return scores

    def _filled(self, values: Floats, count: int) -> Floats:
        """`values` [backbones] repeated `count` times; unknown ones are drawn from the known each time."""
        unknown = np.isnan(values)
        if not unknown.any():
            return np.broadcast_to(values, (count, len(values)))
        filled = np.tile(values, (count, 1))
        filled[:, unknown] = self.generator.choice(values[~unknown], size=(count, int(unknown.sum())))
        return filled

    def _measured(self) -> Floats:
        """Mean rank of each backbone over the tasks on which it was measured, among the backbones measured there."""
        total, number = np.zeros(len(self.backbones)), np.zeros(len(self.backbones))
        for values in self.values:
            known = ~np.isnan(values)
            share = places(values[known]) / known.sum() * len(self.backbones) if not known.all() else places(values)
            total[known] += share
            number[known] += 1
        found: Floats = total / number
        return found


def bootstrap_ranks(
    backbones: Sequence[str],
    tasks: Sequence[Spread],
    families: Sequence[str],
    *,
    missing: Missing = "complete rows",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Ranks:
    """All replicates at once; arguments as for `RankBootstrap.of`."""
    bootstrap = RankBootstrap.of(backbones, tasks, families, missing, seed)
    bootstrap.add(replicates)
    return bootstrap.ranks()


def _groups(mean_ranks: Floats, order: npt.NDArray[np.intp]) -> dict[int, int]:
    """Iterate from the best down; a new group begins with the first backbone over which the group's best is almost
    always ahead.
    """
    groups: dict[int, int] = {}
    best, group = order[0], 1
    for place in order:
        gap = np.sign(mean_ranks[:, place] - mean_ranks[:, best])
        ahead = float(np.mean(gap + 1)) / 2
        if ahead > CERTAIN:
            best, group = place, group + 1
        groups[int(place)] = group
    return groups
