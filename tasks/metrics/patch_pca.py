"""The fraction of the variance of patch features in the components shown as colours. Needs numpy and scipy, not
torch.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from tasks.metrics.confidence_intervals import over_images
from tasks.metrics.outcome import Interval
from tasks.metrics.rescore import Arrays, Rescorer

Floats = npt.NDArray[np.float64]
EXPLAINED = "explained-variance"
NEEDED = frozenset({"explained", "variance"})
"""Per image: sums over its patches of the squares of the shown components, and of all."""


def explained_share(explained: Floats, variance: Floats, weights: Floats) -> Floats:
    """Percentage [b] of the variance explained under each row of image weights [b, images]."""
    return np.asarray(100.0 * (weights @ explained) / (weights @ variance), np.float64)


def scores(arrays: Arrays) -> dict[str, float]:
    """The percentage of the patches' variance in the three components."""
    explained, variance = (arrays[name].astype(np.float64) for name in ("explained", "variance"))
    return {EXPLAINED: float(100.0 * explained.sum() / variance.sum())}


def interval(arrays: Arrays, metric: str = EXPLAINED) -> Interval:
    """Bootstrap over images, with the components as they are."""
    del metric
    explained, variance = (arrays[name].astype(np.float64) for name in ("explained", "variance"))
    return over_images(partial(explained_share, explained, variance), len(variance))


def rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored sums; None if one is missing."""
    return Rescorer(NEEDED, scores, interval) if set(arrays) >= NEEDED else None
