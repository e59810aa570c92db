"""A race of backbones for one dataset: cheap protocols select the backbones for the target protocol. Pure.

A contender is pruned when it is certain that the target protocol would not put it above the leader: the anytime-valid
bound of its difference under the cheap protocol, and the error with which cheap differences have predicted differences
under the target on other datasets, exclude it together. Half of the 5 % of error is for the images, half for the
prediction; all rounds and all rivals share them, so that the best backbone is pruned in 5 % of races at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance, variance
from typing import Literal

import numpy as np

from ssl_console.analysis.ladder import LadderRung, LadderStep, climb
from ssl_console.analysis.predictors import PredictionError
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics.selection import BestOf, Floats, best_of
from ssl_console.analysis.statistics.sequential import ERROR, share_of_error
from ssl_console.workspace.race_record import PredictorError
from tasks.metrics.outcome import NORMAL_95


@dataclass(frozen=True)
class RaceRound:
    """One protocol, the contenders measured by it, and those that remain."""

    rung: LadderRung
    step: LadderStep
    prediction: PredictionError | None
    """None while the error of predictions is unknown; then nothing is pruned."""
    pruned: tuple[str, ...]
    slack: float | None = None
    """Points by which a predicted difference may err; None where that is unknown."""
    errors: tuple[PredictorError, ...] = ()
    """How often each predictor of the protocol misorders backbones, the most reliable first; empty while unknown."""

    @property
    def survivors(self) -> tuple[str, ...]:
        return tuple(name for name in self.rung.cells if name not in self.pruned)


def race_round(
    rung: LadderRung,
    prediction: PredictionError | None,
    rounds: int,
    contenders: int,
    errors: Sequence[PredictorError] = (),
) -> RaceRound:
    """Prune after a protocol. `rounds` and `contenders` are those of the whole race, which share its error."""
    error = share_of_error(rounds, contenders - 1, ERROR / 2)
    (step,) = climb([rung], 1, error=error)
    slack = None if prediction is None else prediction.slack(error) if prediction.deviation else 0.0
    pruned = () if slack is None else tuple(name for name, test in step.leads.items() if test.low > slack)
    return RaceRound(rung, step, prediction, pruned, slack, tuple(errors))


def belief_of_race(rounds: Sequence[RaceRound]) -> BestOf:
    """Belief about the best under the last protocol, of all contenders of the first round.

    A contender that the last protocol has not measured is predicted from the last one that has, with the larger of two
    errors: that of predictions on other datasets, and the spread of gains between those that both have measured.
    """
    names = list(rounds[0].rung.cells)
    last = rounds[-1].rung.cells
    means, variances = [], []
    for name in names:
        found = next(one for one in reversed(rounds) if name in one.rung.cells)
        cell, gains = found.rung.cells[name], _gains(found.rung, last)
        error = ((cell.half_width or 0.0) / NORMAL_95) ** 2
        means.append(cell.value + (fmean(gains) if gains else 0.0))
        variances.append(error + (0.0 if found is rounds[-1] else _variance(found, gains)))
    covariance = np.diag(variances) + _shared(rounds[-1].rung, names)
    return best_of(np.array(means), covariance)


def _gains(rung: LadderRung, last: Mapping[str, RankingCell]) -> list[float]:
    """Gains from a protocol to the last one, of the contenders measured by both."""
    return [last[name].value - rung.cells[name].value for name in last if name in rung.cells]


def _variance(found: RaceRound, gains: Sequence[float]) -> float:
    """Variance of one predicted score. Without any error measured, that of the scores themselves."""
    known = [] if found.prediction is None else [found.prediction.deviation**2 / 2]
    known += [variance(gains)] if len(gains) > 1 else []
    values = [cell.value for cell in found.rung.cells.values()]
    return max(known) if known else pvariance(values)


def _shared(rung: LadderRung, names: Sequence[str]) -> Floats:
    """Covariance of scores on the same images, without the variances."""
    size = len(names)
    found = np.zeros((size, size))
    known = [name for name in names if name in rung.samples]
    if len(known) > 1:
        samples = np.stack([rung.samples[name] for name in known])
        places = [names.index(name) for name in known]
        found[np.ix_(places, places)] = np.cov(samples) / samples.shape[1]
        np.fill_diagonal(found, 0.0)
    return found


Goal = Literal["accuracy", "speed", "memory"]


@dataclass(frozen=True)
class Contender:
    """A backbone with its chances and its costs; None where a cost was not measured."""

    name: str
    scores: Mapping[str, float]
    """Scores by task, for the rounds that measured it."""
    probability: float
    """Probability of being the best under the last protocol of the race."""
    regret: float
    """Expected loss against the best one, in points."""
    fate: str
    """`finalist`, `pruned after TASK`, or `predicted from TASK` where the last protocol has not measured it."""
    images_per_s: float | None = None
    memory_mb: float | None = None
    energy_j: float | None = None
    """Energy of its last run in joules."""
    licence: str | None = None


def chosen(contenders: Sequence[Contender], goal: Goal, margin: float) -> Contender:
    """Recommended contender: that with the least expected regret, or the fastest or smallest of those whose regret is
    within the margin; an unmeasured cost is never the lowest.
    """
    best = min(contenders, key=lambda one: (one.regret, -one.probability))
    if goal == "accuracy":
        return best
    near = [one for one in contenders if one.regret <= max(margin, best.regret)]
    if goal == "speed":
        return max(near, key=lambda one: (one.images_per_s or 0.0, -one.regret))
    return min(near, key=lambda one: (one.memory_mb or math.inf, one.regret))
