"""Scores of dense protocols that are means over images or pairs: depth, correct keypoints, variance of patch
components.

Source of depth errors: `calculate_depth_metrics` of facebookresearch/dinov3 (eval/depth/metrics.py).

Images occur in several pairs, so pairs are not independent: the jackknife omits groups of images with all their pairs,
which is consistent for means over pairs (Arvesen, Ann. Math. Statist. 40(6), 1969).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tasks.metrics.confidence_intervals import mean_over, over_images
from tasks.metrics.jackknife import GROUPS, percent_interval, scores_of_jackknife
from tasks.metrics.outcome import Interval, wilson_reach
from tasks.metrics.rescore import Arrays, Rescorer

Floats = npt.NDArray[np.float64]
DEPTH_SCORES = ("rmse", "abs-rel", "delta1", "delta2", "delta3", "log10", "silog")
"""`rmse` in the unit of depth, `delta*` and `silog` in percent, the others as fractions."""
DELTA = 1.25
Indices = npt.NDArray[np.int64]
PER_IMAGE, PER_KEYPOINT, PER_CLASS = "pck-image", "pck-keypoint", "pck-class"
CORRESPONDENCE_ARRAYS = frozenset({"source", "target", "category", "keypoints", "correct"})
"""Per pair: rows of both images, class, and numbers of keypoints and of correct ones."""
EXPLAINED = "explained-variance"
PATCH_PCA_ARRAYS = frozenset({"explained", "variance"})
"""Per image: sums over its patches of the squares of the shown components, and of all."""


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


def depth_rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored errors; None if one is missing."""
    needs = frozenset(DEPTH_SCORES)
    return Rescorer(needs, depth_means, depth_interval) if needs <= set(arrays) else None


def per_image(correct: Floats, keypoints: Floats, category: Indices) -> float:
    """Mean over pairs of the percentage of correct keypoints."""
    del category
    return 100.0 * float((correct / keypoints).mean())


def per_keypoint(correct: Floats, keypoints: Floats, category: Indices) -> float:
    """Percentage of correct keypoints of all pairs together."""
    del category
    return 100.0 * float(correct.sum() / keypoints.sum())


def per_class(correct: Floats, keypoints: Floats, category: Indices) -> float:
    """Mean over classes of the percentage of correct keypoints."""
    right, every = (np.bincount(category, weights=counts) for counts in (correct, keypoints))
    return 100.0 * float((right[every > 0] / every[every > 0]).mean())


READINGS: Mapping[str, Callable[[Floats, Floats, Indices], float]] = {
    PER_IMAGE: per_image,
    PER_KEYPOINT: per_keypoint,
    PER_CLASS: per_class,
}


def image_groups(source: Indices, target: Indices) -> Indices:
    """Group [images] of every image, for the jackknife.

    Two images that are paired only with each other are in one group. Images of one connected set of pairs, as all of a
    class, are spread evenly over the groups.
    """
    component = np.arange(max(int(source.max()), int(target.max())) + 1)
    for one, other in zip(source.tolist(), target.tolist(), strict=True):
        if component[one] != component[other]:
            component[component == component[one]] = component[other]
    _, component, size = np.unique(component, return_inverse=True, return_counts=True)
    unit = np.where(size[component] == 2, component, len(component) + np.arange(len(component)))
    number: dict[int, int] = {}
    for image in np.lexsort((unit, component)):
        number.setdefault(int(unit[image]), len(number))
    return np.array([number[one] % GROUPS for one in unit.tolist()], np.int64)


def correspondence_jackknife(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
    """By `jackknife:NAME`, the readings [1 + groups] of all pairs, and of those without an image of each group.

    NaN where no pair remains.
    """
    source, target, category = (arrays[name].astype(np.int64) for name in ("source", "target", "category"))
    keypoints, correct = (arrays[name].astype(np.float64) for name in ("keypoints", "correct"))
    group = image_groups(source, target)
    kept = [np.ones(len(source), np.bool_)]
    kept += [(group[source] != one) & (group[target] != one) for one in range(int(group.max()) + 1)]
    return {
        f"jackknife:{name}": np.array(
            [score(correct[rows], keypoints[rows], category[rows]) if rows.any() else np.nan for rows in kept]
        )
        for name, score in READINGS.items()
    }


def correspondence_scores(arrays: Arrays) -> dict[str, float]:
    """All readings by name."""
    return scores_of_jackknife(correspondence_jackknife(arrays))


def correspondence_interval(arrays: Arrays, metric: str) -> Interval:
    """Interval of a reading, over other images; as wide as Wilson's for half the images if no group changes it."""
    values = correspondence_jackknife(arrays)[f"jackknife:{metric}"].astype(np.float64)
    images = len(np.unique(np.concatenate([arrays["source"], arrays["target"]])))
    return percent_interval(values, wilson_reach(images / 2))


def correspondence_rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored counts; None if one is missing."""
    return (
        Rescorer(CORRESPONDENCE_ARRAYS, correspondence_scores, correspondence_interval)
        if set(arrays) >= CORRESPONDENCE_ARRAYS
        else None
    )


def patch_pca_scores(arrays: Arrays) -> dict[str, float]:
    """The percentage of the patches' variance in the three components."""
    explained, variance = (arrays[name].astype(np.float64) for name in ("explained", "variance"))
    return {EXPLAINED: float(100.0 * explained.sum() / variance.sum())}


def patch_pca_interval(arrays: Arrays, metric: str = EXPLAINED) -> Interval:
    """Bootstrap over images, with the components as they are."""
    del metric
    explained, variance = (arrays[name].astype(np.float64) for name in ("explained", "variance"))
    return over_images(lambda weights: 100.0 * (weights @ explained) / (weights @ variance), len(variance))


def patch_pca_rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored sums; None if one is missing."""
    return Rescorer(PATCH_PCA_ARRAYS, patch_pca_scores, patch_pca_interval) if set(arrays) >= PATCH_PCA_ARRAYS else None
