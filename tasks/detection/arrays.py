"""Detections and objects of many images as arrays with one row per image, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.datasets.targets import Boxes
from tasks.detection.detections import Detections

Array = npt.NDArray[np.generic]
NAMES = frozenset({"boxes", "box_labels", "box_scores", "objects", "object_labels", "object_difficult"})
ABSENT = -1
"""The label of what is not there: each row is as long as the fullest."""


def arrays_of(detections: Sequence[Detections], truths: Sequence[Boxes]) -> dict[str, Array]:
    """`boxes` [n, k, 4], `box_labels` and `box_scores` [n, k]; `objects`, `object_labels`, `object_difficult` alike."""
    return {
        "boxes": _padded([one.corners for one in detections], np.float32(0)),
        "box_labels": _padded([one.labels.astype(np.int16) for one in detections], np.int16(ABSENT)),
        "box_scores": _padded([one.scores for one in detections], np.float32(0)),
        "objects": _padded([one.corners for one in truths], np.float32(0)),
        "object_labels": _padded([one.labels.astype(np.int16) for one in truths], np.int16(ABSENT)),
        "object_difficult": _padded([one.difficult for one in truths], np.bool_(False)),
    }


def from_arrays(arrays: Mapping[str, Array]) -> tuple[list[Detections], list[Boxes]]:
    """What `arrays_of` was given. Raises KeyError when an array is missing."""
    there, known = arrays["box_labels"] != ABSENT, arrays["object_labels"] != ABSENT
    detections = [
        Detections(
            arrays["boxes"][row, mask].astype(np.float32),
            arrays["box_labels"][row, mask].astype(np.int64),
            arrays["box_scores"][row, mask].astype(np.float32),
        )
        for row, mask in enumerate(there)
    ]
    truths = [
        Boxes(
            arrays["objects"][row, mask].astype(np.float32),
            arrays["object_labels"][row, mask].astype(np.int64),
            arrays["object_difficult"][row, mask].astype(np.bool_),
        )
        for row, mask in enumerate(known)
    ]
    return detections, truths


def _padded(rows: Sequence[Array], fill: np.generic) -> Array:
    most = max(map(len, rows), default=0)
    whole = np.full((len(rows), most, *rows[0].shape[1:]), fill)
    for row, one in zip(whole, rows, strict=True):
        row[: len(one)] = one
    return whole
