"""A race of backbones for one dataset: cheap protocols select the backbones for the target protocol. Pure.

A contender is pruned when it is certain that the target protocol would not put it above the leader: the anytime-valid
bound of its difference under the cheap protocol, and the error with which cheap differences have predicted differences
under the target on other datasets, exclude it together. Half of the 5 % of error is for the images, half for the
prediction; all rounds and all rivals share them, so that the best backbone is pruned in 5 % of races at most.

Two measures of how well cheap protocols predict the target on the other datasets of a workspace: the error of a
predicted difference in points, with which a race prunes; and how often a predictor orders two backbones differently
from the target, which also exists for scores in other units (LogME, H-score, NLEEP).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pvariance, variance
from typing import Literal

import numpy as np

from ssl_console.analysis.ladder import LadderRung, LadderStep, climb
from ssl_console.analysis.statistics.distributions import t_quantile
from ssl_console.analysis.statistics.selection import BestOf, Floats, best_of
from ssl_console.analysis.statistics.sequential import ERROR, PERCENT, share_of_error
from ssl_console.workspace.race_record import PredictorError
from ssl_console.workspace.result import Result
from tasks.metrics.outcome import NORMAL_95

MetricsOf = Callable[[str], Mapping[str, float]]
"""All metrics of a run by its id."""
FURTHER_SCORES: Mapping[str, tuple[str, ...]] = {
    "transferability-sample": ("logme", "h-score", "h-score-regularised", "nleep", "parc"),
}
"""Metrics of a protocol that are predictors besides its headline; larger is better."""
FEWEST_DEGREES = 3
"""Degrees of freedom below which the error of a prediction counts as unknown."""


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
        cells = found.rung.cells
        gains = [last[one].value - cells[one].value for one in last if one in cells]  # of those measured by both
        error = ((cells[name].half_width or 0.0) / NORMAL_95) ** 2
        means.append(cells[name].value + (fmean(gains) if gains else 0.0))
        variances.append(error + (0.0 if found is rounds[-1] else _variance(found, gains)))
    return best_of(np.array(means), _covariance(rounds[-1].rung, names, np.array(variances)))


def _variance(found: RaceRound, gains: Sequence[float]) -> float:
    """Variance of one predicted score. Without any error measured, that of the scores themselves."""
    known = [] if found.prediction is None else [found.prediction.deviation**2 / 2]
    known += [variance(gains)] if len(gains) > 1 else []
    values = [cell.value for cell in found.rung.cells.values()]
    return max(known) if known else pvariance(values)


def _covariance(rung: LadderRung, names: Sequence[str], variances: Floats) -> Floats:
    """Covariance of the errors of scores, of which those on the same images are correlated.

    `variances` [backbones] are the smallest ones. In addition, every score has an error of at least one image, so that
    no difference of backbones with equal answers is certain.
    """
    size, least = len(names), 0.0
    shared = np.zeros((size, size))
    known = [name for name in names if name in rung.samples]
    if len(known) > 1:
        samples = np.stack([rung.samples[name] for name in known])
        places = [names.index(name) for name in known]
        shared[np.ix_(places, places)] = np.cov(samples) / samples.shape[1]
        least = (PERCENT / samples.shape[1]) ** 2
    covariance: Floats = shared + np.diag(np.maximum(variances - np.diag(shared), least))
    return covariance


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
    """Energy of its last run in joules, drawn by the whole device."""
    energy_reason: str = ""
    """Reason why the energy is unknown."""
    licence: str | None = None


def energy_notes(reasons: Mapping[str, str]) -> list[str]:
    """Sentences on unknown energy, from the reason for every backbone; empty for one whose energy is known."""
    notes = []
    for reason in dict.fromkeys(filter(None, reasons.values())):
        without = [name for name, one in reasons.items() if one == reason]
        names = "" if len(without) == len(reasons) else f" of {', '.join(without)}"
        notes.append(f"energy{names} is unknown: {reason}")
    return notes


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


@dataclass(frozen=True)
class PredictionError:
    """How well differences under a cheap protocol have predicted those under the target, on other datasets."""

    deviation: float
    """Standard deviation, in points, of the error of a predicted difference of two backbones."""
    degrees: int
    datasets: int

    def slack(self, error: float) -> float:
        """Points by which a predicted difference is exceeded with at most probability `error`, on one side."""
        return t_quantile(self.degrees, 1 - 2 * error) * self.deviation


EXACT = PredictionError(0.0, 10**6, 0)
"""Prediction error of the target protocol itself."""


def prediction_error(results: Iterable[Result], cheap: str, target: str, dataset: str) -> PredictionError | None:
    """Error of predictions, from backbones measured by both protocols on other datasets; None where too few are known.

    A backbone's score under the target minus that under the cheap protocol varies around its dataset's mean; the
    deviation of a difference of two backbones is larger by the root of two.
    """
    if cheap == target:
        return EXACT
    gains: dict[tuple[str, str, str], dict[str, float]] = {}
    scores: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in sorted(results, key=lambda result: result.finished):
        if one.dataset_name != dataset and one.protocol_name in {cheap, target} and one.higher_is_better:
            scores[one.dataset_name, one.protocol_name][one.variant][one.backbone] = one.value
    for name in {place[0] for place in scores}:
        for first, cheaps in scores[name, cheap].items():
            for second, targets in scores[name, target].items():
                both = cheaps.keys() & targets.keys()
                gains[name, first, second] = {key: targets[key] - cheaps[key] for key in both}
    known = [list(one.values()) for one in gains.values() if len(one) > 1]
    degrees = sum(len(one) - 1 for one in known)
    if degrees < FEWEST_DEGREES:
        return None
    squares = sum(sum((gain - fmean(one)) ** 2 for gain in one) for one in known)
    return PredictionError(math.sqrt(2 * squares / degrees), degrees, len({place[0] for place in gains}))


def predictor_errors(
    results: Iterable[Result], cheap: str, target: str, dataset: str, metrics_of: MetricsOf
) -> list[PredictorError]:
    """Error of every predictor of a protocol on the other datasets, the most reliable first; empty where no two
    backbones were measured by both protocols, and for the target itself.

    The interval is Wilson's for half as many pairs as there are backbones, summed over datasets: pairs share backbones,
    and no mean over pairs varies more than that of so many independent ones.
    """
    if cheap == target:
        return []
    chosen = [one for one in results if one.dataset_name != dataset and one.higher_is_better]
    names = ("", *FURTHER_SCORES.get(cheap, ()))
    found = [_error(cheap, name, list(_measured(chosen, cheap, target, name, metrics_of))) for name in names]
    return sorted((one for one in found if one is not None), key=lambda one: one.misordered)


def _measured(
    results: Iterable[Result], cheap: str, target: str, metric: str, metrics_of: MetricsOf
) -> Iterator[list[tuple[float, float]]]:
    """Predictor and target score of the backbones of each dataset that have both, of the variants with most of them."""
    scores: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for one in sorted(results, key=lambda result: result.finished):
        if one.protocol_name not in {cheap, target}:
            continue
        plain = one.protocol_name == target or not metric
        value = one.value if plain else metrics_of(one.run_id).get(metric)
        if value is not None:
            variants = scores.setdefault(one.dataset_name, {}).setdefault(one.protocol_name, {})
            variants.setdefault(one.variant, {})[one.backbone] = value
    for of in scores.values():
        every = [
            [(predicted[name], measured[name]) for name in predicted.keys() & measured.keys()]
            for predicted in of.get(cheap, {}).values()
            for measured in of.get(target, {}).values()
        ]
        if largest := max(every, key=len, default=[]):
            yield largest


def _error(cheap: str, metric: str, datasets: list[list[tuple[float, float]]]) -> PredictorError | None:
    """Misordered pairs; equal predictions count half, and pairs with equal scores under the target do not count."""
    wrong = []
    for backbones in datasets:
        for (predicted, measured), (rival_predicted, rival_measured) in combinations(backbones, 2):
            if measured != rival_measured:
                gap = predicted - rival_predicted
                wrong.append(0.5 if gap == 0 else float((gap > 0) != (measured > rival_measured)))
    if not wrong:
        return None
    share, effective = fmean(wrong), sum(map(len, datasets)) / 2
    low, high = _wilson(share, min(effective, len(wrong)))
    name = f"{cheap}:{metric}" if metric else cheap
    return PredictorError(
        predictor=name,
        misordered=share,
        low=low,
        high=high,
        pairs=len(wrong),
        datasets=sum(len(d) > 1 for d in datasets),
    )


def _wilson(share: float, count: float) -> tuple[float, float]:
    square = NORMAL_95**2 / count
    centre, half = share + square / 2, math.sqrt(square * (share * (1 - share) + square / 4))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))
