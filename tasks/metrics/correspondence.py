"""Percentage of correct keypoints (PCK) over pairs of images. Needs numpy, not torch.

Images occur in several pairs, so pairs are not independent: the jackknife omits groups of images with all their pairs,
which is consistent for means over pairs (Arvesen, Ann. Math. Statist. 40(6), 1969).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tasks.metrics.jackknife import GROUPS, percent_interval, scores_of_jackknife
from tasks.metrics.outcome import Interval
from tasks.metrics.quantiles import wilson_reach
from tasks.metrics.rescore import Arrays, Rescorer

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
PER_IMAGE, PER_KEYPOINT, PER_CLASS = "pck-image", "pck-keypoint", "pck-class"
NEEDED = frozenset({"source", "target", "category", "keypoints", "correct"})
"""Per pair: rows of both images, class, and numbers of keypoints and of correct ones."""


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


def jackknife_scores(arrays: Arrays) -> dict[str, npt.NDArray[np.generic]]:
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


def scores(arrays: Arrays) -> dict[str, float]:
    """All readings by name."""
    return scores_of_jackknife(jackknife_scores(arrays))


def interval(arrays: Arrays, metric: str) -> Interval:
    """Interval of a reading, over other images; as wide as Wilson's for half the images if no group changes it."""
    values = jackknife_scores(arrays)[f"jackknife:{metric}"].astype(np.float64)
    images = len(np.unique(np.concatenate([arrays["source"], arrays["target"]])))
    return percent_interval(values, wilson_reach(images / 2))


def rescorer(arrays: Arrays) -> Rescorer | None:
    """Rescorer of stored counts; None if one is missing."""
    return Rescorer(NEEDED, scores, interval) if set(arrays) >= NEEDED else None
