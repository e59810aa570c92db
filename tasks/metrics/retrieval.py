"""Scores of rankings from the ranks of relevant images, and of clusters from classes. Needs numpy, not torch.

Every score is computed for all images and without each group of them (`tasks.metrics.jackknife`), as queries share the
gallery: an interval over queries alone would be too narrow.

Instance retrieval follows the rule of rOxford and rParis. Queries for the same building have the same relevant images,
so the jackknife omits one building at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Relevance
from tasks.metrics.confidence_intervals import mean_over
from tasks.metrics.jackknife import GROUPS, group_of, percent_interval
from tasks.metrics.outcome import NORMAL_95, Interval, wilson_reach

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[np.generic]]
MEANS = {"average_precision": "map", "map_at_r": "map-at-r"}
RECALL = "jackknife:recall@"
LAST_ROW = (1 << 32) - 1
POSITIVE = (1 << 31) - 1
SETUPS = ("easy", "medium", "hard")
DEPTH = 10
"""Ranks over which precision is computed."""
Whole = npt.NDArray[np.integer]


@dataclass(frozen=True)
class RankedPositives:
    """Relevant images of one query in order of similarity; [k] or [k, 1 + GROUPS], that of all images first."""

    ranks: Indices
    """Ranks from 1 among all images, then among those outside each group."""
    kept: npt.NDArray[np.bool_]
    """Whether the relevant image itself is outside that group."""


def rank_positives(
    similarity: npt.NDArray[np.float32], relevant: Indices, ignored: Indices, groups: Indices
) -> RankedPositives:
    """Rank `relevant` rows by `similarity` [n] among all rows except `ignored`; on ties the first row precedes.

    `groups` [n] is the group of every row.
    """
    bits = (similarity + np.float32(0.0)).view(np.int32)  # normalises -0.0 to 0.0
    ordered = (bits ^ ((bits >> 31) & POSITIVE)).astype(np.int64)
    keys = (ordered << 32) | (LAST_ROW - np.arange(len(similarity)))
    order = np.argsort(keys[relevant])
    places = len(relevant) - np.searchsorted(keys[relevant][order], keys, side="right")
    counted = np.ones(len(keys), np.bool_)
    counted[ignored] = False
    cells = places[counted] * GROUPS + groups[counted]
    table = np.bincount(cells, minlength=(len(relevant) + 1) * GROUPS).reshape(-1, GROUPS)
    above = table[:-1].cumsum(axis=0)
    whole = above.sum(axis=1, keepdims=True)
    own = groups[relevant][order[::-1]]
    kept = np.concatenate([np.ones_like(whole, np.bool_), own[:, None] != np.arange(GROUPS)], axis=1)
    return RankedPositives(np.concatenate([whole, whole - above], axis=1), kept)


def average_precision(found: RankedPositives, *, trapezoidal: bool = False) -> Floats:
    """Average precision [1 + GROUPS] in percent; NaN if no relevant image is left.

    The mean over relevant images of the precision at their rank; `trapezoidal` averages it with the precision just
    above them, as the evaluation of rOxford and rParis does.
    """
    hits = found.kept.cumsum(axis=0)
    precision = hits / np.maximum(found.ranks, 1)
    if trapezoidal:
        before = np.where(found.ranks > 1, (hits - 1) / np.maximum(found.ranks - 1, 1), 1.0)
        precision = (precision + before) / 2
    return _percent((precision * found.kept).sum(axis=0), found)


def map_at_r(found: RankedPositives) -> Floats:
    """MAP@R [1 + GROUPS] in percent (Musgrave et al., ECCV 2020): average precision over the first R ranks, where R
    is the number of relevant images."""
    within = found.kept & (found.ranks <= found.kept.sum(axis=0))
    precision = found.kept.cumsum(axis=0) / np.maximum(found.ranks, 1)
    return _percent((precision * within).sum(axis=0), found)


def first_rank(found: RankedPositives) -> Floats:
    """Rank [1 + GROUPS] of the first relevant image; NaN if none is left."""
    ranks = np.where(found.kept, found.ranks, np.iinfo(np.int64).max).min(axis=0, initial=np.iinfo(np.int64).max)
    return np.where(found.kept.any(axis=0), ranks, np.nan)


def _percent(total: Floats, found: RankedPositives) -> Floats:
    relevant = found.kept.sum(axis=0)
    share: Floats = np.divide(100.0 * total, relevant, out=np.full(len(relevant), np.nan), where=relevant > 0)
    return share


def jackknife_scores(arrays: Arrays, recalls: Iterable[int]) -> dict[str, npt.NDArray[np.generic]]:
    """By `jackknife:NAME`, means over queries [1 + GROUPS] of the stored arrays [n, 1 + GROUPS].

    `average_precision` yields `map`, `map_at_r` yields `map-at-r`, and `first_rank` yields `recall@k`.
    """
    found: dict[str, npt.NDArray[np.generic]] = {
        f"jackknife:{metric}": _means(_floats(arrays[name])) for name, metric in MEANS.items() if name in arrays
    }
    ranks = _floats(arrays["first_rank"])
    for count in recalls:
        found[f"jackknife:recall@{count}"] = _means(np.where(np.isnan(ranks), np.nan, 100.0 * (ranks <= count)))
    return found


def stored_recalls(arrays: Arrays) -> list[int]:
    """The k of every stored Recall@k."""
    return [int(name.removeprefix(RECALL)) for name in arrays if name.startswith(RECALL)]


def interval(arrays: Arrays) -> Interval:
    """Interval of the mean average precision from the stored arrays.

    If it has zero width, twice the width of Wilson's for this many images, which are queries and gallery.
    """
    values = _floats(arrays["average_precision"])
    queries = int(np.isfinite(values[:, 0]).sum())
    return percent_interval(_means(values), 2 * wilson_reach(queries))


def _means(known: Floats) -> Floats:
    there = np.isfinite(known)
    total = np.where(there, known, 0.0).sum(axis=0)
    means: Floats = np.divide(total, there.sum(axis=0), out=np.full(len(total), np.nan), where=there.any(axis=0))
    return means


def _floats(values: npt.NDArray[np.generic]) -> Floats:
    return values.astype(np.float64)


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


def instance_jackknife(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
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


def instance_scores(arrays: Arrays) -> dict[str, float]:
    """Means over queries with relevant images, by name."""
    means = {
        name.removeprefix("jackknife:"): float(of[0]) for name, of in _all_floats(instance_jackknife(arrays)).items()
    }
    return {name: value for name, value in means.items() if np.isfinite(value)}


def instance_interval(arrays: Arrays, metric: str) -> Interval:
    """Interval of a mean over queries; Student's if all queries are of one building."""
    values = _all_floats(instance_jackknife(arrays))[f"jackknife:{metric}"]
    if len(values) > 2:
        return percent_interval(values, wilson_reach(len(values) - 1))
    name, _, setup = metric.rpartition("-")
    found = arrays[f"{'average_precision' if name == 'map' else 'precision_at_10'}_{setup}"].astype(np.float64)
    return mean_over(found[np.isfinite(found)])


def _all_floats(arrays: Arrays) -> dict[str, Floats]:
    return {name: values.astype(np.float64) for name, values in arrays.items()}


def contingency(first: Whole, second: Whole) -> Floats:
    """Contingency table [values of first, values of second]."""
    rows, row = np.unique(first, return_inverse=True)
    columns, column = np.unique(second, return_inverse=True)
    table = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    return table.reshape(len(rows), len(columns)).astype(np.float64)


def normalised_mutual_information(table: Floats) -> float:
    """Mutual information divided by the mean of both entropies, in percent; 100 if neither varies."""
    entropies = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    if sum(entropies) == 0:
        return 100.0
    shared = sum(entropies) - _entropy(table.ravel())
    return float(100.0 * max(0.0, shared) / (sum(entropies) / 2))


def adjusted_rand_index(table: Floats) -> float:
    """Rand index adjusted for chance (Hubert and Arabie, 1985), in percent; negative below chance."""
    together, rows, columns = (_pairs(one).sum() for one in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = rows * columns / max(_pairs(table.sum()), 1.0)
    most = (rows + columns) / 2
    return float(100.0 * (together - expected) / (most - expected)) if most != expected else 100.0


CLUSTERING_SCORES = {"nmi": normalised_mutual_information, "ari": adjusted_rand_index}


def clustering_interval(arrays: Mapping[str, npt.NDArray[np.generic]], metric: str) -> Interval:
    """Interval of a score from `cluster` [n, 1 + GROUPS] and `label` [n].

    An interval of zero width, e.g. where clusters equal classes, is extended to the score with `NORMAL_95`^2 additional
    images of random clusters, by analogy with Wilson's interval.
    """
    clusters, labels = (arrays[name].astype(np.int64) for name in ("cluster", "label"))
    table = contingency(clusters[:, 0], labels)
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum() ** 2
    reach = abs(CLUSTERING_SCORES[metric](table) - CLUSTERING_SCORES[metric](table + NORMAL_95**2 * chance))
    return percent_interval(clustering_jackknife(clusters, labels)[f"jackknife:{metric}"], reach)


def clustering_jackknife(clusters: Whole, labels: Whole) -> dict[str, Floats]:
    """By `jackknife:NAME`, scores [1 + GROUPS] of `clusters` [n, 1 + GROUPS]; the columns are computed from all
    images and without each group."""
    groups = group_of(len(labels))
    tables = [contingency(clusters[:, 0], labels)]
    for number in range(GROUPS):
        left = groups != number
        tables.append(contingency(clusters[left, 1 + number], labels[left]))
    return {
        f"jackknife:{name}": np.array([score(table) for table in tables]) for name, score in CLUSTERING_SCORES.items()
    }


def _entropy(counts: Floats) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _pairs(counts: Floats) -> Floats:
    pairs: Floats = np.asarray(counts * (counts - 1) / 2)
    return pairs
