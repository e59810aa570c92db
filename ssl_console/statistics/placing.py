"""Places of scores, row by row, for whole arrays at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def places(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Place of every score among those along the last axis: 1 for the highest, ties share the average of theirs."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    width = scores.shape[-1]
    number = np.arange(width)
    starts = np.ones(scores.shape, dtype=np.bool_)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    found = np.empty(scores.shape)
    if starts.all():
        np.put_along_axis(found, order, np.broadcast_to(number + 1.0, scores.shape), axis=-1)
        return found
    first = np.maximum.accumulate(np.where(starts, number, 0), axis=-1)
    ends = np.concatenate([starts[..., 1:], np.ones((*scores.shape[:-1], 1), dtype=np.bool_)], axis=-1)
    last = np.minimum.accumulate(np.where(ends, number, width)[..., ::-1], axis=-1)[..., ::-1]
    np.put_along_axis(found, order, (first + last) / 2 + 1, axis=-1)
    return found
