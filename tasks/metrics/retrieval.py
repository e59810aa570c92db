"""Scores of rankings from the ranks of relevant images: average precision, Recall@k, MAP@R. Needs numpy, not torch.

Every score is computed for all images and without each group of them (`tasks.metrics.jackknife`), as queries share the
gallery: an interval over queries alone would be too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.metrics.jackknife import GROUPS, percent_interval
from tasks.metrics.outcome import Interval
from tasks.metrics.quantiles import wilson_reach

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[np.generic]]
MEANS = {"average_precision": "map", "map_at_r": "map-at-r"}
RECALL = "jackknife:recall@"
LAST_ROW = (1 << 32) - 1
POSITIVE = (1 << 31) - 1


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
    """Rank `relevant` rows by `similarity` [n] among all rows except `ignored`; on ties the first row leads.

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
