"""How well cheap protocols predict a target protocol, measured on the other datasets of a workspace. Pure.

Two measures: the error of a predicted difference in points, with which a race prunes; and how often a predictor orders
two backbones differently from the target, which also exists for scores in other units (LogME, H-score, NLEEP).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from ssl_console.analysis.statistics.distributions import t_quantile
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
    """Misordered pairs; those of equal scores under the target have no order and do not count."""
    wrong = [_misordered(*pair) for one in datasets for pair in combinations(one, 2) if pair[0][1] != pair[1][1]]
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


def _misordered(one: tuple[float, float], other: tuple[float, float]) -> float:
    predicted = one[0] - other[0]
    return 0.5 if predicted == 0 else float((predicted > 0) != (one[1] > other[1]))


def _wilson(share: float, count: float) -> tuple[float, float]:
    square = NORMAL_95**2 / count
    centre, half = share + square / 2, math.sqrt(square * (share * (1 - share) + square / 4))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))
