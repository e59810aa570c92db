"""Detections of an image, and their matching with the true objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.datasets.dataset import Boxes


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
    shared = np.prod(np.maximum(sides, 0), axis=-1)
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
    area: Floats = np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)
    return area
