"""The handwritten digits and photographs included in scikit-learn, read without importing it, and digits over scenes.

Importing `sklearn.datasets` takes almost two seconds, half as long as torch.
"""

import gzip
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.synthetic.scene_layout import SceneParameters
from tasks.synthetic.solids import Floats

TRAIN_GLYPHS = 900
"""The first 900 of the 1,797 digits are for training; the other 897 are used in the split "test" only."""


@dataclass(frozen=True, eq=False)
class DigitGlyphs:
    """Handwriting: `ink` [n, 8, 8] from 0 (paper) to 1, `labels` [n]."""

    ink: Floats
    labels: NDArray[np.int64]


@lru_cache(maxsize=2)
def _glyphs(testing: bool) -> DigitGlyphs:
    digits = handwritten_digits()
    part = slice(TRAIN_GLYPHS, None) if testing else slice(0, TRAIN_GLYPHS)
    return DigitGlyphs((digits.images[part] / 16).astype(np.float32), digits.labels[part])


def glyphs(split: str) -> DigitGlyphs:
    """The handwriting of a split: 897 digits for "test", the 900 others for every other split."""
    return _glyphs(split == "test")


def _sample(ink: Floats, rows: Floats, columns: Floats) -> Floats:
    """Bilinear values of an 8 x 8 glyph at fractional positions; 0 outside."""
    padded = np.pad(ink, 1)
    rows, columns = np.clip(rows + 1, 0, 8.999), np.clip(columns + 1, 0, 8.999)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down, across = rows - top, columns - left
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def _place(rng: np.random.Generator, size: int, p: SceneParameters) -> tuple[Floats, Floats]:
    """Glyph row and column [size, size] seen by each pixel, for a random place, size and turn."""
    side, turn = rng.uniform(*p.digit_size), rng.uniform(-p.digit_turn, p.digit_turn)
    centre = 0.5 + (1 - side) * rng.uniform(-0.5, 0.5, 2)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = (axis[:, None] - centre[0]) * 8 / side, (axis[None, :] - centre[1]) * 8 / side
    cos, sin = math.cos(turn), math.sin(turn)
    return (cos * y + sin * x + 3.5).astype(np.float32), (cos * x - sin * y + 3.5).astype(np.float32)


def write_digit(rng: np.random.Generator, image: Floats, split: str, p: SceneParameters) -> tuple[Floats, int]:
    """Draw a random digit of a split over an image [h, w, 3] of 0..1; return the new image and the label."""
    source = glyphs(split)
    index = int(rng.integers(len(source.labels)))
    ink = _sample(source.ink[index], *_place(rng, image.shape[0], p))
    alpha = np.clip(1.6 * ink - 0.15, 0, 1)[:, :, None]
    ground = float((image * alpha).sum() / (3 * alpha.sum() + 1e-6))
    sign = 1.0 if ground < rng.uniform(0.35, 0.65) else -1.0
    colour = np.clip(ground + sign * rng.uniform(*p.digit_contrast) + rng.uniform(-0.2, 0.2, 3), 0, 1)
    written = image * (1 - alpha) + alpha * colour.astype(np.float32)
    return np.asarray(written, np.float32), int(source.labels[index])


@dataclass(frozen=True, eq=False)
class HandwrittenDigits:
    """The 1,797 digits of `sklearn.datasets.load_digits`: `images` [n, 8, 8] from 0 to 16, `labels` [n]."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]


@lru_cache(maxsize=1)
def handwritten_digits() -> HandwrittenDigits:
    """Read the digits."""
    with gzip.open(_folder() / "data" / "digits.csv.gz", "rt", encoding="utf-8") as file:
        rows = np.loadtxt(file, delimiter=",")
    return HandwrittenDigits(rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64))


def photographs() -> list[Image.Image]:
    """Read the two photographs, 427 x 640 pixels, in the order of `sklearn.datasets.load_sample_images`."""
    return [Image.open(path).convert("RGB") for path in sorted((_folder() / "images").glob("*.jpg"))]


def _folder() -> Path:
    spec = find_spec("sklearn")  # locates the package without importing it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed: make install", name="sklearn")
    return Path(spec.origin).parent / "datasets"
