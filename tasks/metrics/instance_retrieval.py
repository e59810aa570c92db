"""Scores of queries for buildings by the rule of rOxford and rParis. Needs numpy, not torch.

Queries for the same building have the same relevant images, so the jackknife omits one building at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Relevance
from tasks.metrics.confidence_intervals import mean_over
from tasks.metrics.jackknife import percent_interval
from tasks.metrics.outcome import Interval
from tasks.metrics.quantiles import wilson_reach
from tasks.metrics.retrieval import RankedPositives, average_precision

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[np.generic]]
SETUPS = ("easy", "medium", "hard")
DEPTH = 10
"""Ranks over which precision is computed."""


def of_setup(one: Relevance, setup: str) -> tuple[Indices, Indices]:
    """Relevant images, and those removed from the ranking."""
    if setup == "easy":
        return one.easy, np.concatenate([one.junk, one.hard])
    if setup == "hard":
        return one.hard, np.concatenate([one.junk, one.easy])
    return np.concatenate([one.easy, one.hard]), one.junk


def query_scores(found: RankedPositives) -> tuple[float, float]:
    """Average precision by trapezoids and precision at 10, in percent; NaN without relevant images.

    Precision is over fewer ranks if the last relevant image is before the tenth rank.
    """
    ranks = found.ranks[:, 0]
    if not len(ranks):
        return np.nan, np.nan
    depth = min(int(ranks.max()), DEPTH)
    return float(average_precision(found, trapezoidal=True)[0]), 100.0 * float((ranks <= depth).sum()) / depth


def buildings(relevance: Sequence[Relevance]) -> Indices:
    """Building index of every query; queries that share a relevant image, directly or through others, have the same
    one."""
    number = np.arange(len(relevance))
    owner: dict[int, int] = {}
    for query, one in enumerate(relevance):
        for image in np.concatenate([one.easy, one.hard]).tolist():
            earlier = owner.setdefault(image, query)
            number[number == number[query]] = number[earlier]
    return np.unique(number, return_inverse=True)[1].astype(np.int64)


def jackknife_scores(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """By `jackknife:NAME`, means over queries [1 + buildings], of all of them and without each building."""
    building = arrays["building"].astype(np.int64)
    kept = np.stack([np.ones(len(building), np.bool_), *(building != one for one in range(building.max() + 1))])
    found: dict[str, npt.NDArray[np.generic]] = {}
    for setup in SETUPS:
        for name, metric in (("average_precision", "map"), ("precision_at_10", "mp@10")):
            values = arrays[f"{name}_{setup}"].astype(np.float64)
            there = kept & np.isfinite(values)
            total = (there * np.nan_to_num(values)).sum(axis=1)
            means = np.full(len(kept), np.nan)
            found[f"jackknife:{metric}-{setup}"] = np.divide(total, there.sum(axis=1), means, where=there.any(axis=1))
    return found


def scores(arrays: Arrays) -> dict[str, float]:
    """Means over queries with relevant images, by name."""
    means = {name.removeprefix("jackknife:"): float(of[0]) for name, of in _floats(jackknife_scores(arrays)).items()}
    return {name: value for name, value in means.items() if np.isfinite(value)}


def interval(arrays: Arrays, metric: str) -> Interval:
    """Interval of a mean over queries; Student's if all queries are of one building."""
    values = _floats(jackknife_scores(arrays))[f"jackknife:{metric}"]
    if len(values) > 2:
        return percent_interval(values, wilson_reach(len(values) - 1))
    name, _, setup = metric.rpartition("-")
    found = arrays[f"{'average_precision' if name == 'map' else 'precision_at_10'}_{setup}"].astype(np.float64)
    return mean_over(found[np.isfinite(found)])


def _floats(arrays: Arrays) -> dict[str, Floats]:
    return {name: values.astype(np.float64) for name, values in arrays.items()}
