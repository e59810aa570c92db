"""Images that illustrate a result: several side by side in one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from backbones.io.files import whole_file

Pixels = npt.NDArray[np.uint8]
"""[h, w, 3]."""
GAP = 2
RAMP = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)
"""Colour map from dark to bright: matplotlib's inferno at five positions."""


def save_sheet(rows: Sequence[Sequence[Pixels]], folder: Path | None, name: str) -> None:
    """Save rows of equally sized images as `folder/name`; no effect without a folder or rows. Raises OSError with the
    path.
    """
    if folder is None or not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    Image.fromarray(sheet(rows)).save(drawn, format="PNG")
    with whole_file(folder / name) as file:
        file.write(drawn.getbuffer())


def sheet(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Images as one, separated by small gaps."""
    right, below = ((0, 0), (0, GAP), (0, 0)), ((0, GAP), (0, 0), (0, 0))
    joined = [np.concatenate([np.pad(one, right) for one in row], axis=1) for row in rows]
    return np.concatenate([np.pad(row, below) for row in joined])[:-GAP, :-GAP]


def heat(values: npt.NDArray[np.floating], under: Pixels, strength: float = 0.65) -> Pixels:
    """A map [h, w] in colours, from its minimum to its maximum, blended with an image."""
    low, high = float(values.min()), float(values.max())
    shares = (values.astype(np.float64) - low) / (high - low if high > low else 1)
    places = np.linspace(0, 1, len(RAMP))
    colours = np.stack([np.interp(shares, places, RAMP[:, channel]) for channel in range(3)], axis=-1)
    return (strength * colours + (1 - strength) * under).round().astype(np.uint8)
