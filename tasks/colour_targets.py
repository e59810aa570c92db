"""What colours an image has: the mean colour, and how its hues are spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backbones.preprocessing import prepare
from backbones.preprocessing_spec import PreprocessingSpec
from tasks.datasets.dataset import Dataset
from tasks.reporter import Reporter
from tasks.splits import Selection

Floats = npt.NDArray[np.float64]
HUES = 12
"""Bins of the hue circle, the first around red."""


def colours(dataset: Dataset, selection: Selection, spec: PreprocessingSpec, reporter: Reporter) -> Floats:
    """[n, 3 + HUES] of the selection's images as a backbone is shown them (resized and cropped): see `colour`."""
    reporter.phase("colours", sum(len(indices) for _, indices in selection), "images")
    rows: list[Floats] = []
    for name, indices in selection:
        for index in indices:
            rows.append(colour(prepare(dataset.splits[name].images[int(index)], spec).numpy()))
            reporter.advance()
    return np.stack(rows)


def colour(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Mean of each channel in [0, 1], then the shares of the hues, of `pixels` [3, h, w].

    A pixel counts for its hue as much as it has colour at all (its chroma), so grey has no hue; an image without any
    colour has shares of 0.
    """
    red, green, blue = channels = pixels.reshape(3, -1).astype(np.float64) / 255
    highest, chroma = channels.max(axis=0), np.ptp(channels, axis=0)
    coloured = np.where(chroma > 0, chroma, 1.0)
    sextant = np.select(
        [highest == red, highest == green],
        [(green - blue) / coloured, 2 + (blue - red) / coloured],
        4 + (red - green) / coloured,
    )
    places = np.floor(sextant / 6 * HUES + 0.5).astype(np.int64) % HUES
    weights = np.bincount(places, weights=chroma, minlength=HUES)
    total = weights.sum()
    return np.concatenate([channels.mean(axis=1), weights / total if total > 0 else weights])
