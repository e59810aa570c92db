"""Agreement of clusters with classes: mutual information and adjusted Rand index. Needs numpy, not torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tasks.metrics.jackknife import GROUPS, group_of, percent_interval
from tasks.metrics.outcome import Interval
from tasks.metrics.quantiles import NORMAL_95

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.integer]


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


SCORES = {"nmi": normalised_mutual_information, "ari": adjusted_rand_index}


def interval(arrays: Mapping[str, npt.NDArray[np.generic]], metric: str) -> Interval:
    """Interval of a score from `cluster` [n, 1 + GROUPS] and `label` [n].

    An interval of zero width, e.g. where clusters equal classes, is extended to the score with `NORMAL_95`^2 additional
    images of random clusters, by analogy with Wilson's interval.
    """
    clusters, labels = (arrays[name].astype(np.int64) for name in ("cluster", "label"))
    table = contingency(clusters[:, 0], labels)
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum() ** 2
    reach = abs(SCORES[metric](table) - SCORES[metric](table + NORMAL_95**2 * chance))
    return percent_interval(jackknife_scores(clusters, labels)[f"jackknife:{metric}"], reach)


def jackknife_scores(clusters: Whole, labels: Whole) -> dict[str, Floats]:
    """By `jackknife:NAME`, scores [1 + GROUPS] of `clusters` [n, 1 + GROUPS]; the columns are computed from all
    images and without each group."""
    groups = group_of(len(labels))
    tables = [contingency(clusters[:, 0], labels)]
    for number in range(GROUPS):
        left = groups != number
        tables.append(contingency(clusters[left, 1 + number], labels[left]))
    return {f"jackknife:{name}": np.array([score(table) for table in tables]) for name, score in SCORES.items()}


def _entropy(counts: Floats) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _pairs(counts: Floats) -> Floats:
    pairs: Floats = np.asarray(counts * (counts - 1) / 2)
    return pairs
