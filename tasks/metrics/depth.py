"""Errors of depth maps, computed per image and averaged over images.

Source: `calculate_depth_metrics` of facebookresearch/dinov3 (eval/depth/metrics.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tasks.metrics.confidence_intervals import mean_over
from tasks.metrics.outcome import Interval
from tasks.metrics.rescore import Arrays, Rescorer

Floats = npt.NDArray[np.float64]
DEPTH_SCORES = ("rmse", "abs-rel", "delta1", "delta2", "delta3", "log10", "silog")
"""`rmse` in the unit of depth, `delta*` and `silog` in percent, the others as fractions."""
DELTA = 1.25


def depth_errors(predicted: Floats, truth: Floats) -> Floats:
    """The `DEPTH_SCORES` of one image's valid pixels, both [n] and above 0; NaN without pixels."""
    if not len(truth):
        return np.full(len(DEPTH_SCORES), np.nan)
    error, ratio = truth - predicted, np.maximum(truth / predicted, predicted / truth)
    log_error = np.log(truth) - np.log(predicted)
    return np.array(
        [
            np.sqrt(np.mean(error**2)),
            np.mean(np.abs(error) / truth),
            *(100 * np.mean(ratio < DELTA**power) for power in (1, 2, 3)),
            np.mean(np.abs(log_error)) / np.log(10),
            100 * np.sqrt(max(0.0, float(np.mean(log_error**2) - np.mean(log_error) ** 2))),
        ]
    )


def depth_arrays(errors: Floats) -> dict[str, Floats]:
    """Values [n] by score, of the images with valid pixels, from errors [images, scores]."""
    known = errors[~np.isnan(errors).any(axis=1)]
    return {name: known[:, place] for place, name in enumerate(DEPTH_SCORES)}


def depth_means(arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, float]:
    """Every score from its per-image values."""
    return {name: float(arrays[name].astype(np.float64).mean()) for name in DEPTH_SCORES}


def depth_interval(arrays: Mapping[str, npt.NDArray[np.generic]], metric: str) -> Interval:
    """Student's interval of a mean over images."""
    return mean_over(arrays[metric].astype(np.float64))


def rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored errors; None if one is missing."""
    needs = frozenset(DEPTH_SCORES)
    return Rescorer(needs, depth_means, depth_interval) if needs <= set(arrays) else None
