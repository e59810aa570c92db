"""Variance of a mean over episodes for other pools of images, estimated from halves of the pool.

Episodes share the images of their pool, so the sampling unit is the image, not the episode. A run stores the accuracy
with each half as support and each half as queries, for seeded random splits that all backbones share: `splits` [splits,
draws, 2, 2], by the half of the support and by the half of the queries. Support and queries are disjoint.

The variance of the difference of two disjoint halves, divided by four, is that of the whole pool, except for the
interaction of support and queries, which falls with the square of the number of images and is a quarter of that in the
halves. The interaction is the remainder of the four accuracies of a split after both main effects, so it is measured
and subtracted. Squares are products of different draws, which removes the noise of the draws. Source: the half-sample
replication of McCarthy, Review of the International Statistical Institute 37(3) (1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SPLITS = "split_accuracy"
"""Name of the array of accuracies [splits, draws, 2, 2], in percent."""
COUNTS = "split_images"
"""Name of the array of images per class [classes] that were split."""


@dataclass(frozen=True)
class SplitError:
    """Standard error of a mean over episodes, for other images of the same classes."""

    error: float
    """In percentage points."""
    degrees: float
    """Degrees of freedom of its variance (Satterthwaite)."""


def split_error(splits: Sequence[Floats], episodes: Sequence[Floats], images: npt.NDArray[np.integer]) -> SplitError:
    """Error of the mean of `episodes`, one array [episodes] per seed, over the same pool.

    `splits` are of the same seeds, or differences of them if `episodes` are differences. More seeds reduce the variance
    of drawing episodes, but not that of drawing the pool.
    """
    by_split = np.mean([_covariances(one[None])[:, 0, 0] for one in splits], axis=0)
    pool = float(by_split.mean())
    drawn = float(np.mean([one.var(ddof=1) / len(one) if len(one) > 1 else 0.0 for one in episodes])) / len(episodes)
    spread = float(by_split.var(ddof=1)) / len(by_split) + 2 * pool**2 / max(int(images.sum()) - len(images), 1)
    total = max(pool, 0.0) + drawn
    degrees = 2 * total**2 / spread if spread > 0 else float("inf")
    return SplitError(float(np.sqrt(total)), max(1.0, degrees))


def pool_covariance(splits: Floats) -> Floats:
    """Covariance [backbones, backbones] over pools, from `splits` [backbones, splits, draws, 2, 2]."""
    found: Floats = _covariances(splits).mean(axis=0)
    return found


def _covariances(splits: Floats) -> Floats:
    """Unbiased covariance over pools from every split [splits, backbones, backbones]; single variances may be negative.

    `splits` are [backbones, splits, draws, 2, 2].
    """
    first, second = splits[..., 0, 0], splits[..., 1, 1]
    halves = (first - second) / 2
    interaction = (first + second - splits[..., 0, 1] - splits[..., 1, 0]) / 4
    return _products(halves) - _products(interaction)


def _products(values: Floats) -> Floats:
    """Products of `values` [backbones, splits, draws] over different draws [splits, backbones, backbones]."""
    draws = values.shape[2]
    total = values.sum(axis=2)
    every = np.einsum("as,bs->sab", total, total)
    found: Floats = (every - np.einsum("asd,bsd->sab", values, values)) / (draws * (draws - 1))
    return found
