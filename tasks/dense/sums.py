"""Sums over images under image weights: mean IoU and mean angle are functions of such, so images can be drawn again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def weighted_sums(weights: Floats, parts: npt.NDArray[np.generic]) -> Floats:
    """Sums [b, ...] of the images' `parts` [images, ...] under each row of image weights [b, images]."""
    flat = parts.reshape(len(parts), -1).astype(np.float64)
    return (weights @ flat).reshape(len(weights), *parts.shape[1:])
