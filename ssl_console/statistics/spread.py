"""How the scores of several backbones on one task would move together if its test samples were drawn again.

A `Spread` turns independent standard normal numbers into such moves: for scores that are means it has exactly the
covariance of the bootstrap over samples, of which it is the limit for many samples. Backbones are moved together
because they met the same samples: an image that is hard for all of them sets all of them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.ranking import NORMAL_95
from ssl_console.statistics.paired import mean_precision
from ssl_console.statistics.resampling import counts
from ssl_console.statistics.weighted import Statistic
from tasks.metrics import ranked

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]

REPLICATES = 1000
"""Resamples from which the covariance of scores is estimated that are sums over images in the end."""
AP_REPLICATES = 64
"""The same for average precisions, where each one costs a pass over everything that was found: a standard error is
known to a tenth."""


@dataclass(frozen=True)
class Spread:
    """Scores of backbones on one task, and how they vary over resampled test samples."""

    values: npt.NDArray[np.floating]
    """[backbones]; NaN where a backbone was not measured. Higher is better."""
    factor: npt.NDArray[np.floating]
    """[backbones, directions]: its product with its transpose is the scores' covariance."""


def of_samples(values: npt.NDArray[np.floating], per_sample: npt.NDArray[np.floating]) -> Spread:
    """Scores that are means of `per_sample` [backbones, n], in percent: accuracy, or accuracy per episode."""
    centred = per_sample - per_sample.mean(axis=1, keepdims=True)
    return Spread(values, _root(centred @ centred.T / per_sample.shape[1] ** 2))


def of_classes(values: Floats, right: Floats, labels: Labels) -> Spread:
    """Mean per-class accuracies from `right` [backbones, n], 0 to 1, and `labels` [n]: each class varies by itself."""
    _, place, size = np.unique(labels, return_inverse=True, return_counts=True)
    member = (place[:, None] == np.arange(len(size))).astype(np.float64) / size
    centred = right - (right @ member)[:, place]
    moves = 100.0 * centred / (size[place] * len(size))
    return Spread(values, _root(moves @ moves.T))


def of_precisions(values: Floats, scores: Sequence[Floats], positives: Labels, seed: int = 0) -> Spread:
    """11-point mAPs from one [n, classes] array of `scores` a backbone, by a bootstrap that all of them share."""
    rankings = [[[ranked(*column) for column in zip(one.T, positives.T, strict=True)]] for one in scores]
    blocks = list(counts(len(positives), AP_REPLICATES, seed))
    return of_replicates(
        values, np.stack([np.concatenate([mean_precision(one, block) for block in blocks]) for one in rankings])
    )


def of_statistics(
    values: Floats, statistics: Sequence[Statistic], samples: int, *, replicates: int = REPLICATES, seed: int = 0
) -> Spread:
    """Scores that are functions of image weights, by a bootstrap over images that all of them share."""
    blocks = list(counts(samples, replicates, seed))
    return of_replicates(values, np.stack([np.concatenate([one(block) for block in blocks]) for one in statistics]))


def of_replicates(values: Floats, drawn: Floats) -> Spread:
    """Scores of which `drawn` [backbones, replicates] are bootstrap replicates over images that all of them share."""
    usable = drawn[:, ~np.isnan(drawn).any(axis=0)]
    centred = usable - usable.mean(axis=1, keepdims=True)
    return Spread(values, _root(centred @ centred.T / max(usable.shape[1] - 1, 1)))


def of_intervals(values: Floats, half_widths: Floats) -> Spread:
    """Where only 95 % intervals are known: every score varies by itself, which leaves more ties than there are."""
    return Spread(values, np.diag(np.nan_to_num(half_widths) / NORMAL_95))


def _root(covariance: npt.NDArray[np.floating]) -> Floats:
    """A factor of a covariance that may be singular (two backbones that err alike)."""
    size, vectors = np.linalg.eigh(covariance)
    found: Floats = vectors * np.sqrt(np.maximum(size, 0.0))
    return found
