"""Detections of an image, their matching with the true objects, and average precision as defined by the VOC challenge.

`11-point` (2007) averages the maximum precision at recalls of at least 0, 0.1, ... 1; `area` (since 2010) is the area
under the interpolated curve. AP is the mean over overlaps of 0.50, 0.55, ... 0.95 and over classes, AP50 and AP75 are
those of one overlap. Source: `pascal_voc_evaluation.py` in detectron2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Boxes
from tasks.metrics.confidence_intervals import EXTRAPOLATED, HALVES, halves, never_certain
from tasks.metrics.outcome import Interval

Averaging = Literal["11-point", "area"]

OVERLAPS = tuple(percent / 100 for percent in range(50, 100, 5))
RECALL_LEVELS = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True, eq=False)
class Detections:
    """Detected boxes of one image.

    `corners` float32 [k, 4] are x0 y0 x1 y1 in pixels of the image, x1 and y1 exclusive, as in
    `tasks.datasets.dataset.Boxes`; `labels` int64 [k]; `scores` float32 [k].
    """

    corners: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Claims:
    """All k detections of one class in a set of images, in order of descending score."""

    image: npt.NDArray[np.int64]
    """[k] index of the image."""
    overlap: Floats
    """[k] intersection over union with the matched object; 0 without one."""
    target: npt.NDArray[np.int64]
    """[k] index of the matched object; -1 without one."""
    difficult: npt.NDArray[np.bool_]
    """[k] whether the matched object is difficult."""
    objects: npt.NDArray[np.int64]
    """[images] number of objects of the class in each image, without difficult ones."""

    def judged(self, threshold: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """[k] true positives, and [k] whether counted at all, at an overlap above `threshold`."""
        hits = self.overlap > threshold
        ignored = hits & self.difficult
        candidates = np.flatnonzero(hits & ~self.difficult)
        first = np.unique(self.target[candidates], return_index=True)[1]
        right = np.zeros(len(self.image), np.bool_)
        right[candidates[first]] = True
        return right, ~ignored


def claims(detections: Sequence[Detections], truths: Sequence[Boxes], label: int) -> Claims:
    """The detections of a class in all images; `detections` and `truths` have one entry per image."""
    parts = [_of_image(found, truth, label) for found, truth in zip(detections, truths, strict=True)]
    images = np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])
    before = np.cumsum([0, *(len(part.difficult) for part in parts[:-1])])
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    target = np.concatenate(
        [np.where(part.target < 0, -1, part.target + start) for part, start in zip(parts, before, strict=True)]
    )
    difficult = np.concatenate([part.difficult for part in parts])
    belongs_to_difficult = np.zeros(len(target), np.bool_)
    belongs_to_difficult[target >= 0] = difficult[target[target >= 0]]
    return Claims(
        image=images[order],
        overlap=np.concatenate([part.overlap for part in parts])[order],
        target=target[order],
        difficult=belongs_to_difficult[order],
        objects=np.array([np.count_nonzero(~part.difficult) for part in parts], np.int64),
    )


def overlaps(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Floats:
    """Intersection over union of boxes [a, 4] with boxes [b, 4]: [a, b]; 0 where both are empty."""
    one, other = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = _product(np.maximum(sides, 0))
    union = _area(one) + _area(other) - shared
    shares: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


@dataclass(frozen=True, eq=False)
class _OfImage:
    scores: npt.NDArray[np.float32]
    overlap: Floats
    target: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]


def _of_image(found: Detections, truth: Boxes, label: int) -> _OfImage:
    mine, wanted = found.labels == label, truth.labels == label
    shared = overlaps(found.corners[mine], truth.corners[wanted])
    count = len(shared)
    if not shared.size:
        return _OfImage(found.scores[mine], np.zeros(count), np.full(count, -1), truth.difficult[wanted])
    target = shared.argmax(axis=1)
    return _OfImage(found.scores[mine], shared[np.arange(count), target], target, truth.difficult[wanted])


def _area(boxes: Floats) -> Floats:
    return _product(np.maximum(boxes[..., 2:] - boxes[..., :2], 0))


def _product(sides: Floats) -> Floats:
    """Products [...] of sides [..., 2]: a reduction over two elements would take longer."""
    area: Floats = sides[..., 0] * sides[..., 1]
    return area


@dataclass(frozen=True)
class AveragePrecision:
    """The scores of one detector on one set of images."""

    classes: tuple[Claims, ...]
    averaging: Averaging

    @classmethod
    def of(
        cls, detections: Sequence[Detections], truths: Sequence[Boxes], classes: int, averaging: Averaging = "11-point"
    ) -> AveragePrecision:
        """Match every detection. Raises ValueError if there is no object."""
        found = tuple(claims(detections, truths, label) for label in range(classes))
        if not any(one.objects.any() for one in found):
            raise ValueError("there are no objects: average precision is undefined")
        return cls(found, averaging)

    @property
    def scores(self) -> dict[str, float]:
        """`ap`, `ap50` and `ap75`."""
        by_overlap = [float(np.nanmean(self.per_class(overlap))) for overlap in OVERLAPS]
        return {"ap": float(np.mean(by_overlap)), "ap50": by_overlap[0], "ap75": by_overlap[5]}

    def per_class(self, overlap: float) -> Floats:
        """[classes]; NaN where no image has an object of the class."""
        weights = np.ones((len(self.classes[0].objects), 1), np.float32)
        return np.array([self._of_class(one, overlap, weights)[0] for one in self.classes])

    def interval(self, overlap: float, *, replicates: int = 1000, seed: int = 0, method: str = "") -> Interval:
        """95 % interval of the mean over classes at one overlap, from random halves of the images.

        The 11-point score is discontinuous where the recall of the last detection equals one of its levels. There the
        interval is too narrow, as any interval computed from one sample of images would be. Its bias falls with the
        root of the number of images and is extrapolated; that of the area falls faster and is not. `method` selects a
        method of earlier versions instead.
        """
        usual = EXTRAPOLATED if self.averaging == "11-point" else HALVES
        images = len(self.classes[0].objects)
        score = partial(self.under, overlap)
        found = halves(score, images, replicates=replicates, seed=seed, method=method or usual)
        return found if method else never_certain(found, images)

    def under(self, overlap: float, weights: npt.NDArray[np.float32]) -> Floats:
        """Mean over classes at one overlap, [b] under each column of image weights [images, b]."""
        values = np.array([self._of_class(one, overlap, weights) for one in self.classes])
        known = ~np.isnan(values)
        found: Floats = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
        return found

    def _of_class(self, one: Claims, overlap: float, weights: npt.NDArray[np.float32]) -> Floats:
        """[b] under each column of image weights [images, b]; NaN without objects."""
        right, counted = one.judged(overlap)
        return average_precision(one.image[counted], right[counted], one.objects, weights, self.averaging)


def average_precision(
    image: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    objects: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    averaging: Averaging = "11-point",
) -> Floats:
    """AP in percent [b] under each column of `weights` [images, b].

    Detections are in order of descending score: `image` [k] and `right` [k] (true positives); `objects` [images] are
    the numbers of objects. Only true positives are relevant corners of the curve.
    """
    total = objects.astype(np.float64) @ weights
    corners = np.flatnonzero(right)
    if not len(corners):
        return np.where(total > 0, 0.0, np.nan)
    upto = weights[image[: corners[-1] + 1]]
    starts = np.concatenate([[0], corners[:-1] + 1])
    counted = np.cumsum(np.add.reduceat(upto, starts), axis=0, dtype=np.float64)
    found = np.cumsum(upto[corners], axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = found / total, np.where(counted > 0, found / counted, 0.0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    area = np.sum(np.diff(recall, axis=0, prepend=0.0) * best, axis=0)
    share = _eleven_points(recall, best) if averaging == "11-point" else area
    return np.where(total > 0, 100.0 * share, np.nan)


def _eleven_points(recall: Floats, best: Floats) -> Floats:
    """`recall` ascends, `best` is the maximum precision from there on; both [corners, b]."""
    column = np.arange(recall.shape[1])
    reached = [np.argmax(recall >= level, axis=0) for level in RECALL_LEVELS]
    values = [
        np.where(recall[-1] >= level, best[place, column], 0.0)
        for level, place in zip(RECALL_LEVELS, reached, strict=True)
    ]
    mean: Floats = np.mean(values, axis=0)
    return mean


Array = npt.NDArray[np.generic]


Arrays = Mapping[str, Array]


NEEDED = frozenset(
    {"boxes", "box_labels", "box_scores", "true_boxes", "true_labels", "true_difficult", "eleven_points"}
)


def kept(detections: Sequence[Detections], truths: Sequence[Boxes], averaging: Averaging) -> dict[str, Array]:
    """Padded arrays, one row per image; padding has label -1 and score 0."""
    rows = len(detections)
    found = [(one.corners, one.labels, one.scores) for one in detections]
    true = [(one.corners, one.labels, one.difficult) for one in truths]
    boxes, labels, scores = _padded(found, np.float32)
    true_boxes, true_labels, difficult = _padded(true, np.bool_)
    return {
        "index": np.arange(rows),
        "boxes": boxes,
        "box_labels": labels,
        "box_scores": scores,
        "true_boxes": true_boxes,
        "true_labels": true_labels,
        "true_difficult": difficult,
        "eleven_points": np.full(rows, averaging == "11-point"),
    }


def restored(arrays: Arrays) -> AveragePrecision:
    """Average precision from stored arrays. Raises KeyError for a missing array, ValueError if there are no objects."""
    found = [_detections(*row) for row in _rows(arrays, "boxes", "box_labels", "box_scores")]
    true = [_boxes(*row) for row in _rows(arrays, "true_boxes", "true_labels", "true_difficult")]
    classes = 1 + max(int(arrays[name].astype(np.int64).max(initial=0)) for name in ("true_labels", "box_labels"))
    return AveragePrecision.of(found, true, classes, "11-point" if bool(arrays["eleven_points"].all()) else "area")


def _rows(arrays: Arrays, boxes: str, labels: str, third: str) -> zip[tuple[Array, Array, Array]]:
    return zip(arrays[boxes], arrays[labels], arrays[third], strict=True)


def _detections(corners: Array, labels: Array, scores: Array) -> Detections:
    known = labels.astype(np.int64)
    there = known >= 0
    return Detections(corners[there].astype(np.float32), known[there], scores[there].astype(np.float32))


def _boxes(corners: Array, labels: Array, difficult: Array) -> Boxes:
    known = labels.astype(np.int64)
    there = known >= 0
    return Boxes(corners[there].astype(np.float32), known[there], difficult[there].astype(np.bool_))


def _padded(parts: Sequence[tuple[Array, ...]], third: type[np.generic]) -> tuple[Array, ...]:
    """Corners, labels and one further value of every box."""
    rows, most = len(parts), max((len(labels) for _, labels, _ in parts), default=0)
    corners, labels = np.zeros((rows, most, 4), np.float32), np.full((rows, most), -1, np.int16)
    values = np.zeros((rows, most), third)
    for row, (box, label, value) in enumerate(parts):
        corners[row, : len(box)], labels[row, : len(box)], values[row, : len(box)] = box, label, value
    return corners, labels, values
