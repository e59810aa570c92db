"""What a detection run keeps of every test image: what was found and what is there, so that AP can be counted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.datasets.targets import Boxes
from tasks.detection.average_precision import AveragePrecision, Averaging
from tasks.detection.detections import Detections

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
NEEDED = frozenset(
    {"boxes", "box_labels", "box_scores", "true_boxes", "true_labels", "true_difficult", "eleven_points"}
)


def kept(detections: Sequence[Detections], truths: Sequence[Boxes], averaging: Averaging) -> dict[str, Array]:
    """One row per image, as long as the fullest; what is not there has label -1 and score 0."""
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
    """The scores again. Raises KeyError when an array is missing, ValueError when nothing is to be found."""
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
    """Corners, labels and one more value of every box."""
    rows, most = len(parts), max((len(labels) for _, labels, _ in parts), default=0)
    corners, labels = np.zeros((rows, most, 4), np.float32), np.full((rows, most), -1, np.int16)
    values = np.zeros((rows, most), third)
    for row, (box, label, value) in enumerate(parts):
        corners[row, : len(box)], labels[row, : len(box)], values[row, : len(box)] = box, label, value
    return corners, labels, values
